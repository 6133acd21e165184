import Reporting

/// The experiment as it ran, to run it again.
struct SettingsSection {
    let run: RunRecord

    var markup: Markup {
        .section(
            "settings", "Settings",
            [
                .element(
                    "details", [:],
                    [
                        .element("summary", [:], "experiment.json, with every default filled in"),
                        .element("pre", [:], run.experiment.json.text(indented: true)),
                    ]),
                .remark(
                    "From experiment.json, plan.json, "
                        + (run.profile == nil ? "" : "profile.json, ")
                        + "metrics.jsonl and trace.json of \(run.directory); trace.json opens in ui.perfetto.dev."
                ),
            ])
    }
}
