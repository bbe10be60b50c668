# shellcheck shell=bash
# release.sh: the build that is run and measured, build/release; sourced by run and bench.
# Optimised across files (LTO), since a request's way goes through many small ones.

fg_build_release() {
    local build=build/release
    if [ ! -e $build/build.ninja ]; then
        meson setup $build --buildtype=release -Db_lto=true -Dtests=disabled >build-setup.log 2>&1 ||
            { cat build-setup.log >&2; return 1; }
        rm -f build-setup.log
    fi
    ninja -C $build --quiet >&2
}
