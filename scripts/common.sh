# shellcheck shell=sh
# What scripts/run, scripts/test and scripts/fetch-model share: sourced, never run, after the sourcing script has
# changed to the top of the repository.

# Inside containers the kernel refuses the single-copy system calls and Open MPI warns at every large message;
# its copy through shared memory is also the faster way for messages of the sizes sent here.
export OMPI_MCA_btl_vader_single_copy_mechanism=none

# A computer that loses its power or its network says nothing, and mpirun would wait for it even after its ranks gave
# up. So after 10 s of silence its daemons ask each other every 5 s, and after 3 questions without an answer it ends.
export OMPI_MCA_oob_tcp_keepalive_time=10 OMPI_MCA_oob_tcp_keepalive_intvl=5 OMPI_MCA_oob_tcp_keepalive_probes=3

build_packages="git ca-certificates pkg-config openmpi-bin libopenmpi-dev libopenblas-dev libhdf5-dev"
import_check="--explicit-target-dependency-import-check error"

say() {
    printf '%s\n' "$*" >&2
}

die() {
    say "$(basename "$0"): $*"
    exit 1
}

# Runs a command in silence; when it fails, shows all that it said.
quietly() {
    output=$("$@" 2>&1) || {
        status=$?
        say "$output"
        return "$status"
    }
}

# Stops unless the `swift` on PATH is at least the version that Package.swift names.
require_swift() {
    needed=$(sed -n '1s/^.*swift-tools-version: *//p' Package.swift)
    command -v swift >/dev/null ||
        die "Swift $needed or newer is needed, and there is no 'swift' on PATH." \
            "Install it from https://www.swift.org/install and run this again."
    found=$(swift --version 2>&1 | sed -n 's/.*Swift version \([0-9][0-9.]*\).*/\1/p')
    printf '%s %s\n' "$needed" "$found" |
        awk '{ split($1, need, "."); split($2, have, ".")
               exit !(have[1] > need[1] || have[1] == need[1] && have[2] + 0 >= need[2] + 0) }' ||
        die "Swift $needed or newer is needed, and $(command -v swift) is Swift ${found:-of an unknown version}." \
            "Install a newer one from https://www.swift.org/install and run this again."
}

has_apt() {
    command -v dpkg-query >/dev/null && command -v apt-get >/dev/null
}

# Installs those of the named Debian packages that dpkg does not list as installed.
install_packages() {
    missing=""
    for package in "$@"; do
        # shellcheck disable=SC2016  # the format is dpkg's, not the shell's
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=none
        [ "$status" = installed ] || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    sudo=""
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null ||
            die "these packages are missing and there is no sudo to install them with; as root run:" \
                "apt-get install$missing"
        sudo=sudo
    fi
    say "Installing$missing"
    # shellcheck disable=SC2086  # an empty $sudo must vanish, and $missing is a list
    {
        quietly $sudo apt-get -o DPkg::Lock::Timeout=300 update -qq ||
            die "apt-get update failed; its messages are above."
        quietly $sudo env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
            install -y -qq --no-install-recommends $missing ||
            die "apt-get could not install$missing; its messages are above."
    }
}

# Stops with the Homebrew command that installs what is missing.
require_formulas() {
    command -v brew >/dev/null || die "Homebrew is needed for $*: https://brew.sh"
    missing=""
    for formula in "$@"; do
        brew list --formula "$formula" >/dev/null 2>&1 || missing="$missing $formula"
    done
    [ -z "$missing" ] || die "these libraries are missing; run: brew install$missing"
}

# Stops with a list of what a system without apt must bring.
require_libraries() {
    missing=""
    for command in git mpirun pkg-config; do
        command -v "$command" >/dev/null || missing="$missing $command"
    done
    if command -v pkg-config >/dev/null; then
        for library in ompi-c openblas hdf5; do
            pkg-config --exists "$library" || missing="$missing $library.pc"
        done
    fi
    [ -z "$missing" ] ||
        die "not found:$missing. This system has no apt-get, so install these with their development files and" \
            "run this again: git, pkg-config, Open MPI, OpenBLAS, HDF5" \
            "(Fedora: dnf install git pkgconf openmpi-devel openblas-devel hdf5-devel, then module load mpi;" \
            "Arch: pacman -S git pkgconf openmpi openblas hdf5)."
}

# Installs, or where that is not ours to do names, what building needs.
install_build_requirements() {
    require_swift
    if [ "$(uname -s)" = Darwin ]; then
        require_formulas open-mpi openblas hdf5 pkgconf
    elif has_apt; then
        # shellcheck disable=SC2086  # a list
        install_packages $build_packages
    else
        require_libraries
    fi
}

# Builds the program in release mode, saying nothing unless it fails.
build_program() {
    [ -x .build/release/pac-mpi ] || say "Building pac-mpi; the first time this takes a few minutes."
    # shellcheck disable=SC2086  # an option and its value
    quietly swift build -c release --product pac-mpi $import_check || die "the build failed; its messages are above."
}
