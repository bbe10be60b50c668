# shellcheck shell=bash
# packages.sh: install what is missing, once, quietly; sourced by run, test and bench.
# Works as root or with sudo; says in one sentence what it lacks when neither is there.

FG_PACKAGES_BUILD=(gcc libc6-dev meson ninja-build pkg-config python3 openssl curl
    libevent-dev libssl-dev libnghttp2-dev node-llhttp libhiredis-dev libyaml-dev
    libjansson-dev libpcre2-dev zlib1g-dev libbrotli-dev libzstd-dev)
FG_PACKAGES_RUN=(redis-server)
FG_PACKAGES_TEST=(libcmocka-dev clang libclang-rt-dev clang-format redis-server nghttp2-client
    python3-pytest python3-pytest-xdist python3-httpx python3-h2 python3-grpcio python3-redis python3-numpy python3-cryptography nodejs npm
    chromium prometheus)
FG_PACKAGES_BENCH=(nginx-light haproxy h2o nghttp2-client redis-server strace util-linux)
FG_PACKAGES_BENCH_INFERENCE=(python3-numpy nodejs npm)

fg_missing_packages() {
    local package status
    for package in "$@"; do
        # It fails for a package that was never heard of, which must not end a caller's `set -e` shell.
        status=$(dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null || true)
        [ "${status%%$'\n'*}" = installed ] && continue
        fg_have_instead "$package" && continue
        echo "$package"
    done
}

# Some tools may be there without their Debian package (a newer node, say).
fg_have_instead() {
    case $1 in
    nodejs) command -v node >/dev/null ;;
    npm) command -v npm >/dev/null ;;
    clang) command -v clang >/dev/null ;;
    clang-format) command -v clang-format >/dev/null ;;
    chromium) command -v chromium >/dev/null || command -v chromium-browser >/dev/null ;;
    libclang-rt-dev) compgen -G '/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a' >/dev/null ||
        compgen -G '/usr/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a' >/dev/null ;;
    *) return 1 ;;
    esac
}

# libclang-rt-dev carries the version of the default clang in its name.
fg_resolve_package() {
    if [ "$1" = libclang-rt-dev ]; then
        local version
        version=$(apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p' | head -1)
        echo "libclang-rt-${version:-14}-dev"
    else
        echo "$1"
    fi
}

fg_install_packages() {
    local missing package sudo=() wanted=()
    mapfile -t missing < <(fg_missing_packages "$@")
    [ ${#missing[@]} -eq 0 ] && return 0
    if ! command -v apt-get >/dev/null; then
        echo "floodgate needs the packages ${missing[*]}, and this system has no apt-get to install them with." >&2
        return 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "floodgate needs root or sudo to install: ${missing[*]}" >&2
            return 1
        fi
        sudo=(sudo)
    fi
    echo "installing: ${missing[*]}" >&2
    # A fresh service (redis, nginx, ...) must not start by itself: we run our own, and only our own.
    local policy=/usr/sbin/policy-rc.d made_policy=0
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee $policy >/dev/null
        "${sudo[@]}" chmod 755 $policy
        made_policy=1
    fi
    "${sudo[@]}" apt-get update -qq >&2
    for package in "${missing[@]}"; do
        wanted+=("$(fg_resolve_package "$package")")
    done
    local code=0
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        "${wanted[@]}" >/tmp/floodgate-apt.$$ 2>&1 || code=$?
    [ $made_policy -eq 1 ] && "${sudo[@]}" rm -f $policy
    if [ $code -ne 0 ]; then
        tail -20 /tmp/floodgate-apt.$$ >&2
        echo "apt-get could not install: ${wanted[*]}" >&2
    fi
    rm -f /tmp/floodgate-apt.$$
    return $code
}
