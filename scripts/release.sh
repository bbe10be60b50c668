# shellcheck shell=bash
# release.sh: the builds that are run and measured; sourced by run, train and bench.
#   build/release   optimised across files (LTO), since a request's way goes through many small ones
#   build/trained   the same, and laid out by what the program did under load (PGO): what is measured

# fg_setup_release BUILD [OPTION ...]
fg_setup_release() {
    local build=$1
    shift
    [ ! -e "$build/build.ninja" ] || return 0
    meson setup "$build" --buildtype=release -Db_lto=true -Dtests=disabled "$@" >build-setup.log 2>&1 ||
        { cat build-setup.log >&2; return 1; }
    rm -f build-setup.log
}

fg_build_release() {
    fg_setup_release build/release && ninja -C build/release --quiet >&2
}

# Anew where any source has changed since: what was learned is of each function as it was.
fg_build_trained() {
    local build=build/trained
    if [ -e $build/is-trained ] &&
        [ -z "$(find gateway backends policies scripts meson.build -type f -newer $build/is-trained -print -quit)" ]; then
        return 0
    fi
    rm -rf $build
    fg_setup_release $build -Db_pgo=generate || return 1
    ninja -C $build --quiet gateway/floodgate >&2 || return 1
    (cd scripts && /usr/bin/python3 -B -m benchmarks.training ../$build/gateway/floodgate) || return 1
    meson configure $build -Db_pgo=use >/dev/null && ninja -C $build --quiet >&2 && touch $build/is-trained
}
