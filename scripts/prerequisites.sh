# shellcheck shell=bash
# What start.sh and test.sh need on a machine: PostgreSQL's and Redis's programs, a C compiler (Rust links with
# it), Rust. Sourced by both, from the top folder of the repository; `need_everything` returns when all of it is there.
#
# On Debian and Ubuntu missing packages are installed by apt-get, after saying so; elsewhere they are named.

readonly POSTGRES_NEEDED=15
readonly REDIS_NEEDED=7
# Something that is needed could not be had; the lab uses the same exit status for that (EX_UNAVAILABLE).
readonly UNAVAILABLE=69

say() { printf '%s\n' "$*"; }

die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit "$UNAVAILABLE"
}

# The first number in the output of `PROGRAM --version`; 0 when there is none.
major_version() {
    local text
    text=$("$1" --version 2>/dev/null) || text=
    if [[ $text =~ (v=|[[:space:]]|^)([0-9]+) ]]; then
        printf '%s' "${BASH_REMATCH[2]}"
    else
        printf 0
    fi
}

# The places are those of crates/testbed, which starts the programs: POSTGRES_BIN and REDIS_SERVER come first.
have_postgres() {
    local program
    for program in ${POSTGRES_BIN:+"$POSTGRES_BIN/postgres" "$POSTGRES_BIN"} "$(command -v postgres || true)" \
        /usr/lib/postgresql/*/bin/postgres /usr/pgsql-*/bin/postgres \
        /opt/homebrew/opt/postgresql@*/bin/postgres /usr/local/opt/postgresql@*/bin/postgres \
        /home/linuxbrew/.linuxbrew/opt/postgresql@*/bin/postgres; do
        if [[ -f $program && -x $program ]] && (($(major_version "$program") >= POSTGRES_NEEDED)); then
            return 0
        fi
    done
    return 1
}

have_redis() {
    local program
    for program in ${REDIS_SERVER:+"$REDIS_SERVER"} "$(command -v redis-server || true)" /usr/bin/redis-server \
        /usr/local/bin/redis-server /opt/homebrew/bin/redis-server /home/linuxbrew/.linuxbrew/bin/redis-server; do
        if [[ -f $program && -x $program ]] && (($(major_version "$program") >= REDIS_NEEDED)); then
            return 0
        fi
    done
    return 1
}

have_compiler() { command -v cc >/dev/null; }

# Installs the packages named, after `apt-get update`. Their default servers are switched off again: the lab runs
# private ones on ports of its own, and a PostgreSQL and a Redis that nobody asked for would only take memory.
# (A policy-rc.d would keep them from starting at all, but it would hold for everything else that is installed, too.)
apt_install() {
    local -a as_root=()
    if ((EUID != 0)); then
        command -v sudo >/dev/null || die "run as root: apt-get update && apt-get install --yes --no-install-recommends $*"
        as_root=(sudo)
    fi
    say "Installing by apt-get${as_root[0]:+ (sudo may ask for your password)}: $*"
    "${as_root[@]}" apt-get update -qq || die "apt-get update failed: check the network and /etc/apt/sources.list, then start again"
    local package candidate
    for package in "$@"; do
        candidate=$(apt-cache policy "$package" | sed -n 's/^ *Candidate: *\([0-9]*:\)\{0,1\}\([0-9]*\).*/\2/p')
        case $package in
            postgresql) enough "$candidate" "$POSTGRES_NEEDED" PostgreSQL https://www.postgresql.org/download/ ;;
            redis-server) enough "$candidate" "$REDIS_NEEDED" Redis https://redis.io/docs/latest/operate/oss_and_stack/install/ ;;
        esac
    done
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "$@" ||
        die "apt-get install failed: see its message above, then start again"
    if [[ -d /run/systemd/system ]]; then
        for package in "$@"; do
            case $package in
                postgresql | redis-server)
                    say "Switching off the system service that came with the package: $package"
                    "${as_root[@]}" systemctl disable --quiet --now "$package" || true
                    ;;
            esac
        done
    fi
}

enough() {
    local candidate=$1 needed=$2 name=$3 url=$4
    if ((${candidate:-0} < needed)); then
        die "$name $needed or newer is needed, and this system's packages have ${candidate:-none}: see $url"
    fi
}

need_servers_and_compiler() {
    local -a missing=()
    have_postgres || missing+=(postgresql)
    have_redis || missing+=(redis-server)
    have_compiler || missing+=(gcc libc6-dev)
    ((${#missing[@]} == 0)) && return

    if [[ $(uname -s) == Darwin ]]; then
        local -a brew=()
        have_postgres || brew+=(postgresql@17)
        have_redis || brew+=(redis)
        ((${#brew[@]} == 0)) || die "missing; install with: brew install ${brew[*]}"
        die "there is no C compiler; install it with: xcode-select --install"
    elif command -v apt-get >/dev/null && [[ -e /etc/debian_version ]]; then
        apt_install "${missing[@]}"
        have_postgres || die "PostgreSQL $POSTGRES_NEEDED or newer is still missing: see https://www.postgresql.org/download/, or set POSTGRES_BIN to its bin folder"
        have_redis || die "Redis $REDIS_NEEDED or newer is still missing; set REDIS_SERVER to its redis-server"
        have_compiler || die "there is still no C compiler named cc"
    else
        die "please install what is missing of: PostgreSQL $POSTGRES_NEEDED+ (server), Redis $REDIS_NEEDED+ (redis-server), a C compiler (cc). Missing here, by Debian's names: ${missing[*]}"
    fi
}

need_rust() {
    # A rustup that was installed a minute ago is not on the PATH of this shell yet.
    if ! command -v cargo >/dev/null && [[ -x $HOME/.cargo/bin/cargo ]]; then
        PATH=$HOME/.cargo/bin:$PATH
    fi
    local needed version
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    command -v cargo >/dev/null ||
        die "there is no Rust; install $needed or newer from https://rustup.rs: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
    version=$(rustc --version 2>/dev/null | cut -d' ' -f2)
    if [[ $(printf '%s\n' "$needed" "${version:-0}" | sort -V | head -n 1) != "$needed" ]]; then
        die "Rust $needed or newer is needed, and rustc is ${version:-missing}; update it with: rustup update stable"
    fi
}

need_everything() {
    # Rust first: nothing is installed for somebody who has to go and get it before anything works.
    need_rust
    need_servers_and_compiler
}
