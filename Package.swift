// swift-tools-version: 6.0
import PackageDescription

let strict: [SwiftSetting] = [.swiftLanguageMode(.v6)]

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
        .target(name: "CKernels", cSettings: [.unsafeFlags(["-O3", "-fno-math-errno"])]),
        .target(name: "Support", swiftSettings: strict),

        // Floor 1
        .target(
            name: "TensorCore", dependencies: ["Support", "CBLAS", "CKernels"],
            swiftSettings: strict),
        .target(name: "MPI", dependencies: ["Support", "CMPI"], swiftSettings: strict),
        .target(name: "HDF5", dependencies: ["Support", "CHDF5"], swiftSettings: strict),
        .target(name: "TextData", dependencies: ["Support"], swiftSettings: strict),
        .target(name: "Reporting", dependencies: ["Support"], swiftSettings: strict),

        // Floor 2
        .target(
            name: "Models", dependencies: ["TensorCore", "CKernels", "Support"],
            swiftSettings: strict),
        // What a plan is, and what it costs in time and memory.
        .target(name: "Plans", dependencies: ["Support"], swiftSettings: strict),

        // Floor 3: how a plan is found; how a mini-batch under one goes, on devices that need not exist.
        .target(name: "Planning", dependencies: ["Plans", "Support"], swiftSettings: strict),
        .target(name: "Simulation", dependencies: ["Plans", "Support"], swiftSettings: strict),

        // Floor 4
        .target(
            name: "Training",
            dependencies: [
                "Models", "Planning", "Simulation", "Plans", "TensorCore", "MPI", "HDF5", "TextData",
                "Reporting", "CKernels", "CBLAS", "Support",
            ],
            swiftSettings: strict),

        // Floor 5
        .executableTarget(
            name: "pac-mpi",
            dependencies: [
                "Training", "Models", "Planning", "Simulation", "Plans", "TensorCore", "MPI", "HDF5",
                "TextData", "Reporting", "Support",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: strict),

        // The benchmark page's measurements of parts by themselves.
        .target(
            name: "Peak", path: "experiments/benchmarks/peak",
            cSettings: [.unsafeFlags(["-O3", "-ffp-contract=fast"])]),
        .executableTarget(
            name: "microbenchmarks",
            dependencies: [
                "Peak", "CBLAS", "CKernels", "Models", "Planning", "Plans", "TensorCore", "TextData",
                "Support",
            ],
            path: "experiments/benchmarks/micro", swiftSettings: strict),

        // Ranks for the SPMD tests: launched by mpirun from MPITests, one check a name. HDF5Tests kill it while it writes.
        .executableTarget(
            name: "spmd-checks",
            dependencies: [
                "Training", "Models", "Planning", "Plans", "TensorCore", "MPI", "HDF5", "Support",
            ],
            path: "Tests/spmd-checks",
            swiftSettings: strict),

        // What tests use to start programs, alone or under mpirun.
        .target(name: "Launching", path: "Tests/Launching", swiftSettings: strict),

        // Profiles for the tests of plans, planners and the simulator.
        .target(
            name: "PlanExamples", dependencies: ["Plans", "Support"], path: "Tests/PlanExamples",
            swiftSettings: strict),

        .testTarget(name: "SupportTests", dependencies: ["Support"], swiftSettings: strict),
        .testTarget(
            name: "TextDataTests", dependencies: ["TextData", "Support"], swiftSettings: strict),
        .testTarget(
            name: "ReportingTests", dependencies: ["Reporting", "Support"], swiftSettings: strict),
        .testTarget(
            name: "PlansTests", dependencies: ["Plans", "PlanExamples", "Support"],
            swiftSettings: strict),
        .testTarget(
            name: "PlanningTests", dependencies: ["Planning", "Plans", "PlanExamples", "Support"],
            swiftSettings: strict),
        .testTarget(
            name: "SimulationTests", dependencies: ["Simulation", "Plans", "PlanExamples", "Support"],
            swiftSettings: strict),
        .testTarget(
            name: "CKernelsTests", dependencies: ["CKernels", "CBLAS"], swiftSettings: strict),
        .testTarget(
            name: "TensorCoreTests", dependencies: ["TensorCore", "Support"], swiftSettings: strict),
        .testTarget(
            name: "ModelsTests", dependencies: ["Models", "TensorCore", "Support"],
            swiftSettings: strict),
        .testTarget(
            name: "MPITests", dependencies: ["MPI", "spmd-checks", "Launching", "Support"],
            swiftSettings: strict),
        .testTarget(
            name: "HDF5Tests", dependencies: ["HDF5", "spmd-checks", "Support"], swiftSettings: strict),
        .testTarget(
            name: "TrainingTests",
            dependencies: [
                "Training", "Models", "Planning", "Simulation", "Plans", "TensorCore", "TextData", "HDF5",
                "Reporting", "Support", "Launching", "pac-mpi",
            ],
            swiftSettings: strict),
    ]
)
