/// The look of a report: quiet, for light and for dark screens. Colours are those of Okabe and Ito, which people who see
/// few colours can tell apart.
enum ReportStyle {
    static let sheet = """
        :root {
          color-scheme: light dark;
          --ground: #fdfdfc; --ink: #1d2126; --soft: #656c76; --rule: #e3e5e8; --lane: #f1f2f4;
          --blue: #0072b2; --orange: #e69f00; --green: #009e73; --pink: #cc79a7; --red: #d55e00; --sky: #56b4e9;
          --grey: #c3c8d0; --pale: #dde1e7; --yellow: #cfc21a; --on-blue: #ffffff; --on-pale: #1d2126;
        }
        @media (prefers-color-scheme: dark) {
          :root {
            --ground: #16181c; --ink: #e4e6ea; --soft: #98a0ab; --rule: #2c3036; --lane: #1f2227;
            --blue: #4aa3dd; --orange: #eeb33c; --green: #2fbf97; --pink: #dc98bf; --red: #ef7f3b; --sky: #84cbf4;
            --grey: #555c67; --pale: #353a43; --yellow: #e2d64a; --on-blue: #14161a; --on-pale: #e4e6ea;
          }
        }
        * { box-sizing: border-box; }
        body { margin: 0; background: var(--ground); color: var(--ink);
          font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
        main { max-width: 1000px; margin: 0 auto; padding: 40px 24px 64px; }
        h1 { font-size: 30px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
        h2 { font-size: 19px; margin: 48px 0 12px; padding-top: 20px; border-top: 1px solid var(--rule); }
        h3 { font-size: 14px; margin: 26px 0 8px; color: var(--soft); font-weight: 600; }
        p { margin: 0 0 10px; overflow-wrap: anywhere; }
        header p { color: var(--soft); }
        .remark { color: var(--soft); font-size: 13px; max-width: 78ch; margin-top: 10px; }
        .warning { border-left: 3px solid var(--red); padding: 2px 12px; color: var(--ink); }
        .figures { display: flex; flex-wrap: wrap; gap: 14px 36px; margin: 24px 0; }
        .figures div { display: flex; flex-direction: column-reverse; }
        .figures dt { color: var(--soft); font-size: 13px; }
        .figures dd { margin: 0; font-size: 23px; font-weight: 600; font-variant-numeric: tabular-nums; }
        .plan { list-style: none; margin: 0; padding: 0; font-size: 14px; }
        .scroll { overflow-x: auto; }
        table { border-collapse: collapse; margin: 14px 0; font-size: 13px; font-variant-numeric: tabular-nums; }
        th { text-align: left; font-weight: 600; color: var(--soft); vertical-align: bottom; }
        th, td { padding: 5px 15px 5px 0; border-bottom: 1px solid var(--rule); }
        th:last-child, td:last-child { padding-right: 0; }
        td.number { white-space: nowrap; }
        th.number, td.number { text-align: right; }
        .legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 0 0 10px; padding: 0;
          font-size: 13px; color: var(--soft); }
        .key { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 6px; }
        pre { font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; background: var(--lane);
          padding: 14px 16px; border-radius: 6px; overflow-x: auto; }
        summary { cursor: pointer; }
        svg { display: block; width: 100%; height: auto; }
        .scroll svg { min-width: 660px; }
        svg text { font-size: 11.5px; fill: var(--soft); font-variant-numeric: tabular-nums; }
        svg text.name { fill: var(--ink); font-size: 12.5px; }
        svg text.end { text-anchor: end; }
        svg text.middle { text-anchor: middle; }
        svg text.inside { fill: #14161a; font-size: 10.5px; pointer-events: none; }
        svg text.on-forward { fill: var(--on-blue); }
        svg text.on-receive { fill: var(--on-pale); }
        svg .grid { stroke: var(--rule); stroke-width: 1; }
        svg .lane { fill: var(--lane); }
        svg .curve { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
        svg .spread { opacity: 0.16; stroke: none; }
        svg .hit { fill: transparent; }
        svg .hit:hover { fill: var(--ink); fill-opacity: 0.08; }
        svg rect:not(.hit):not(.lane):hover { stroke: var(--ink); stroke-width: 1; }
        \(coloured)
        @media print { main { max-width: none; padding: 0; } h2 { break-after: avoid; } svg { break-inside: avoid; } }

        """

    /// A colour for every class of bars, curves and legend keys.
    private static let coloured = [
        ("pipeline", "blue"), ("cached", "orange"), ("evaluation", "grey"), ("redistribution", "pink"),
        ("series-0", "blue"), ("series-1", "orange"), ("series-2", "green"), ("series-3", "pink"),
        ("forward", "blue"), ("backward", "orange"), ("optimizer", "red"), ("transfer", "pink"),
        ("receive", "pale"), ("wait", "grey"), ("all_reduce", "green"), ("cache_write", "sky"),
        ("cache_read", "sky"), ("cache_wait", "yellow"), ("memory-weights", "blue"),
        ("memory-activations", "orange"), ("memory-gradients", "pink"), ("memory-optimizer", "green"),
        ("memory-exchange", "grey"), ("memory-cache", "sky"), ("mark", "ink"), ("mark-predicted", "soft"),
        ("mark-budget", "red"),
    ].map { name, colour in
        """
        .key.\(name) { background: var(--\(colour)); }
        svg .\(name) { fill: var(--\(colour)); }
        svg .curve.\(name) { fill: none; stroke: var(--\(colour)); }
        """
    }.joined(separator: "\n")
}
