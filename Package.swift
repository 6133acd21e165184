// swift-tools-version: 6.0
import PackageDescription

// .ci/run sets this, so that no warning comes in. Elsewhere a compiler that warns of more must not keep anyone from building.
let failsOnWarnings = Context.environment["PAC_MPI_WARNINGS"] == "errors"
let strict: [SwiftSetting] =
    [.swiftLanguageMode(.v6)] + (failsOnWarnings ? [.unsafeFlags(["-warnings-as-errors"])] : [])
let strictC = failsOnWarnings ? ["-Wall", "-Werror"] : []

// A target imports only lower floors (ARCHITECTURE.md); scripts build with
// `--explicit-target-dependency-import-check error`, so the list below is the rule and not a wish.
let package = Package(
    name: "pac-mpi",
    products: [.executable(name: "pac-mpi", targets: ["pac-mpi"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2")
    ],
    targets: [
        // Floor 0: the C libraries' shims, the C loops, and what everything else shares.
        .systemLibrary(
            name: "CMPI", path: "mpi", pkgConfig: "ompi-c",
            providers: [.apt(["libopenmpi-dev", "openmpi-bin"]), .brew(["open-mpi"])]),
        .systemLibrary(
            name: "CHDF5", pkgConfig: "hdf5", providers: [.apt(["libhdf5-dev"]), .brew(["hdf5"])]),
        .systemLibrary(
            name: "CBLAS", pkgConfig: "openblas",
            providers: [.apt(["libopenblas-dev"]), .brew(["openblas"])]),
        // Optimised in debug builds as well: without -O3 its loops are 10 to 100 times slower.
        .target(name: "CKernels", cSettings: [.unsafeFlags(["-O3", "-fno-math-errno"] + strictC)]),
        .target(name: "Support", swiftSettings: strict),

        // Floor 1: tensors, the two libraries, text as numbers, what a person reads, and what a plan is.
        .target(
            name: "TensorCore", dependencies: ["Support", "CBLAS", "CKernels"],
            swiftSettings: strict),
        .target(name: "MPI", dependencies: ["Support", "CMPI"], swiftSettings: strict),
        .target(name: "HDF5", dependencies: ["Support", "CHDF5"], swiftSettings: strict),
        .target(name: "Tokenizers", dependencies: ["Support"], swiftSettings: strict),
        .target(name: "ChatTemplates", dependencies: ["Support"], swiftSettings: strict),
        .target(name: "Reporting", dependencies: ["Support"], swiftSettings: strict),
        .target(name: "Plans", dependencies: ["Support"], swiftSettings: strict),

        // Floor 2: tensors in files, tasks and their data, and how a plan is found.
        .target(
            name: "WeightFiles", dependencies: ["TensorCore", "CKernels", "Support"],
            swiftSettings: strict),
        .target(
            name: "TextData", dependencies: ["Tokenizers", "ChatTemplates", "Support"],
            swiftSettings: strict),
        .target(name: "Planning", dependencies: ["Plans", "Support"], swiftSettings: strict),

        // Floor 3: blocks, techniques and the side network, of whatever family.
        .target(
            name: "Models", dependencies: ["WeightFiles", "TensorCore", "CKernels", "Support"],
            swiftSettings: strict),

        // Floor 4: the kinds of models that people have, and a mini-batch through the stages of a plan.
        .target(
            name: "Families", dependencies: ["Models", "WeightFiles", "TensorCore", "Support"],
            swiftSettings: strict),
        .target(
            name: "Stages",
            dependencies: [
                "Models", "Plans", "TextData", "TensorCore", "MPI", "CKernels", "Reporting", "Support",
            ],
            swiftSettings: strict),

        // Floor 5: the experiment as a user writes it, and this build against another implementation.
        .target(
            name: "Configuration",
            dependencies: [
                "Families", "Models", "WeightFiles", "Planning", "Plans", "TensorCore", "TextData", "Support",
            ],
            swiftSettings: strict),
        .target(
            name: "Verification",
            dependencies: [
                "Families", "Models", "WeightFiles", "TensorCore", "Tokenizers", "TextData",
                "Reporting", "Support",
            ],
            swiftSettings: strict),

        // Floor 6: who the ranks are; devices that need not exist; the page of a run that has been.
        .target(
            name: "Cluster",
            dependencies: [
                "Configuration", "Plans", "MPI", "TensorCore", "CKernels", "Reporting", "Support",
            ],
            swiftSettings: strict),
        .target(
            name: "Simulation",
            dependencies: [
                "Configuration", "Families", "Models", "Plans", "TextData", "Reporting",
                "Support",
            ],
            swiftSettings: strict),
        .target(
            name: "RunReport",
            dependencies: ["Configuration", "Plans", "TextData", "Reporting", "Support"],
            swiftSettings: strict),

        // Floor 7: the frozen model's activations on the ranks' disks, and what the planner needs to know, measured.
        .target(
            name: "ActivationCache",
            dependencies: [
                "Stages", "Cluster", "Configuration", "Models", "WeightFiles", "Plans", "TextData",
                "TensorCore", "MPI", "HDF5", "CKernels", "Reporting", "Support",
            ],
            swiftSettings: strict),
        .target(
            name: "Profiling",
            dependencies: ["Stages", "Cluster", "Models", "Plans", "TensorCore", "MPI", "Support"],
            swiftSettings: strict),

        // Floor 8: a run, from the experiment to the adapter.
        .target(
            name: "Training",
            dependencies: [
                "Profiling", "ActivationCache", "Stages", "Cluster", "Simulation", "Configuration",
                "Families",
                "Models", "WeightFiles", "Plans", "TextData", "Tokenizers", "ChatTemplates",
                "TensorCore", "MPI", "HDF5", "Reporting", "CKernels", "Support",
            ],
            swiftSettings: strict),

        // Floor 9: commands, the terminal, exit statuses.
        .executableTarget(
            name: "pac-mpi",
            dependencies: [
                "Training", "Stages", "Cluster", "Simulation", "RunReport", "Verification", "Configuration",
                "Plans", "TensorCore", "MPI", "Reporting", "Support",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: strict),

        // The benchmark page's measurements of parts by themselves.
        .target(
            name: "Peak", path: "experiments/benchmarks/peak",
            cSettings: [.unsafeFlags(["-O3", "-ffp-contract=fast"] + strictC)]),
        .executableTarget(
            name: "microbenchmarks",
            dependencies: [
                "Peak", "CBLAS", "CKernels", "Families", "Models", "WeightFiles", "Planning", "Plans",
                "TensorCore", "Tokenizers",
                "Support",
            ],
            path: "experiments/benchmarks/micro", swiftSettings: strict),

        // What tests start as processes of their own, each of which needs no more than what it tests: ranks under mpirun,
        // one check a name, and a process that HDF5Tests kill while it writes.
        .target(
            name: "RankChecks", dependencies: ["MPI", "Support"], path: "Tests/RankChecks",
            swiftSettings: strict),
        .executableTarget(
            name: "mpi-checks", dependencies: ["RankChecks", "MPI", "Support"], path: "Tests/mpi-checks",
            swiftSettings: strict),
        .executableTarget(
            name: "spmd-checks",
            dependencies: [
                "RankChecks", "Profiling", "Cluster", "Stages", "Families", "Models",
                "Planning", "Plans", "TextData", "TensorCore", "MPI", "Reporting", "Support",
            ],
            path: "Tests/spmd-checks",
            swiftSettings: strict),
        .executableTarget(
            name: "hdf5-process", dependencies: ["HDF5", "Support"], path: "Tests/hdf5-process",
            swiftSettings: strict),

        // What tests use to start programs, alone or under mpirun.
        .target(name: "Launching", path: "Tests/Launching", swiftSettings: strict),
        // The reference files of the repository, and scratch files.
        .target(
            name: "ReferenceFiles", dependencies: ["Support"], path: "Tests/ReferenceFiles",
            swiftSettings: strict),
        // The tables, links and examples of a page of the documentation.
        .target(name: "MarkdownPages", path: "Tests/MarkdownPages", swiftSettings: strict),

        // The reference cases' models, and copies of them in half precision.
        .target(
            name: "TinyModels",
            dependencies: ["Families", "Models", "WeightFiles", "TensorCore", "Support"],
            path: "Tests/TinyModels", swiftSettings: strict),

        // Plans, and profiles for the tests of planners and of the simulator.
        .target(
            name: "PlanExamples", dependencies: ["Plans", "Support"], path: "Tests/PlanExamples",
            swiftSettings: strict),

        // Runs of the whole program with a tiny model, its data and an experiment in a scratch directory, and their logs.
        .target(
            name: "TinyRuns",
            dependencies: ["Plans", "PlanExamples", "ReferenceFiles", "Launching", "Support"],
            path: "Tests/TinyRuns", swiftSettings: strict),

        .testTarget(name: "SupportTests", dependencies: ["Support"], swiftSettings: strict),
        .testTarget(
            name: "TokenizersTests", dependencies: ["Tokenizers", "ReferenceFiles", "Support"],
            swiftSettings: strict),
        .testTarget(
            name: "ChatTemplatesTests", dependencies: ["ChatTemplates", "ReferenceFiles", "Support"],
            swiftSettings: strict),
        .testTarget(
            name: "TextDataTests",
            dependencies: ["TextData", "Tokenizers", "ChatTemplates", "ReferenceFiles", "Support"],
            swiftSettings: strict),
        .testTarget(
            name: "ReportingTests", dependencies: ["Reporting", "Support"], swiftSettings: strict),
        .testTarget(
            name: "PlansTests", dependencies: ["Plans", "PlanExamples", "Support"],
            swiftSettings: strict),
        .testTarget(
            name: "PlanningTests", dependencies: ["Planning", "Plans", "PlanExamples", "Support"],
            swiftSettings: strict),
        .testTarget(
            name: "SimulationTests",
            dependencies: ["Simulation", "Configuration", "Models", "Plans", "PlanExamples", "Support"],
            swiftSettings: strict),
        .testTarget(
            name: "CKernelsTests", dependencies: ["CKernels", "CBLAS"], swiftSettings: strict),
        .testTarget(
            name: "TensorCoreTests", dependencies: ["TensorCore", "Support"], swiftSettings: strict),
        .testTarget(
            name: "WeightFilesTests",
            dependencies: ["TinyModels", "Models", "WeightFiles", "TensorCore", "Support"],
            swiftSettings: strict),
        .testTarget(
            name: "ModelsTests",
            dependencies: ["TinyModels", "Families", "Models", "WeightFiles", "TensorCore", "Support"],
            swiftSettings: strict),
        .testTarget(
            name: "FamiliesTests",
            dependencies: ["TinyModels", "MarkdownPages", "Families", "Models", "TensorCore", "Support"],
            swiftSettings: strict),
        .testTarget(
            name: "MPITests", dependencies: ["MPI", "mpi-checks", "Launching", "Support"],
            swiftSettings: strict),
        .testTarget(
            name: "HDF5Tests", dependencies: ["HDF5", "hdf5-process", "Launching", "Support"],
            swiftSettings: strict),
        .testTarget(
            name: "StagesTests",
            dependencies: [
                "Stages", "Families", "Models", "Plans", "TextData", "PlanExamples", "ReferenceFiles",
                "Support", "Launching", "spmd-checks",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "ConfigurationTests",
            dependencies: ["Configuration", "Plans", "MarkdownPages", "Support"],
            swiftSettings: strict),
        .testTarget(
            name: "VerificationTests", dependencies: ["Verification", "ReferenceFiles", "Support"],
            swiftSettings: strict),
        .testTarget(
            name: "ClusterTests",
            dependencies: ["Cluster", "Plans", "Support", "Launching", "spmd-checks"],
            swiftSettings: strict),
        // The page is made of what a run leaves, so the program runs.
        .testTarget(
            name: "RunReportTests",
            dependencies: [
                "Plans", "Reporting", "PlanExamples", "TinyRuns", "Support", "pac-mpi",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "ActivationCacheTests",
            dependencies: [
                "ActivationCache", "Stages", "Configuration", "Families", "Models", "Plans", "TextData",
                "PlanExamples", "Support",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "ProfilingTests",
            dependencies: ["Profiling", "Stages", "Plans", "Support", "Launching", "spmd-checks"],
            swiftSettings: strict),
        // Whole runs, and what belongs to Training itself.
        .testTarget(
            name: "TrainingTests",
            dependencies: [
                "Training", "Models", "WeightFiles", "Planning", "Plans", "TextData", "Tokenizers",
                "TensorCore", "HDF5", "Reporting", "Support", "PlanExamples", "MarkdownPages", "TinyRuns",
                "Launching", "pac-mpi",
            ],
            swiftSettings: strict),
    ]
)
