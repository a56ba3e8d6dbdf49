# Sourced by the other scripts: tools of the checks and tests, installed once under the target folder where they are missing.
# `cargo clean` takes them away. What only the distribution has (npm) is installed as its package.

tools=${CARGO_TARGET_DIR:-target}/tools
mkdir -p "$tools"
tools=$(cd "$tools" && pwd)
export PATH="$PATH:$tools/bin"

# need_cargo NAME: a cargo subcommand, built from its published source. Unoptimised, because building takes longer than all
# its runs: cargo-deny about 1.5 minutes on 2 cores.
need_cargo() {
    if cargo "${1#cargo-}" --version >/dev/null 2>&1; then
        return
    fi
    echo "installing $1 into $tools (once)"
    CARGO_TARGET_DIR=$tools/build cargo install --quiet --locked --debug --root "$tools" "$1" || return
    rm -rf "$tools/build"
}

# need_package COMMAND: one of the distribution's packages that has the command's name.
need_package() {
    if command -v "$1" >/dev/null; then
        return
    fi
    install_package "$1"
}

# install_package NAME: one of the distribution's, whatever its commands are called.
install_package() {
    echo "installing the package $1"
    local as_root=
    [ "$(id -u)" -eq 0 ] || as_root=sudo
    $as_root apt-get update -qq && $as_root apt-get install -qq -y --no-install-recommends "$1"
}

# need_systemd: the tools that look at units, such as systemd-analyze; nothing of it need run.
need_systemd() {
    if command -v systemd-analyze >/dev/null; then
        return
    fi
    install_package systemd
}

# need_anvil: the Ethereum node that tests speak to as a server that is not ours. Leaves its path in ANVIL.
need_anvil() {
    ANVIL=${ANVIL:-$tools/anvil/node_modules/.bin/anvil}
    export ANVIL
    if [ -x "$ANVIL" ]; then
        return
    fi
    need_package npm
    echo "installing anvil into $tools/anvil (once)"
    mkdir -p "$tools/anvil"
    npm install --silent --no-audit --no-fund --prefix "$tools/anvil" "@foundry-rs/anvil@1.7.1"
}

# need_nostr_relay: the Nostr relay that tests speak to. Leaves its program in NOSTR_RELAY.
need_nostr_relay() {
    NOSTR_RELAY=${NOSTR_RELAY:-$tools/nostr-relay/bin/nostr-relay}
    export NOSTR_RELAY
    if [ -x "$NOSTR_RELAY" ]; then
        return
    fi
    python3 -c 'import ensurepip' 2>/dev/null || install_package python3-venv || return
    echo "installing nostr-relay into $tools/nostr-relay (once)"
    python3 -m venv "$tools/nostr-relay" &&
        "$tools/nostr-relay/bin/pip" install --quiet --disable-pip-version-check "nostr-relay==1.14"
}

# need_aiosmtpd: the mail server that tests send to. Leaves the Python that has it in AIOSMTPD.
need_aiosmtpd() {
    AIOSMTPD=${AIOSMTPD:-$tools/aiosmtpd/bin/python}
    export AIOSMTPD
    if [ -x "$AIOSMTPD" ]; then
        return
    fi
    python3 -c 'import ensurepip' 2>/dev/null || install_package python3-venv || return
    echo "installing aiosmtpd into $tools/aiosmtpd (once)"
    python3 -m venv "$tools/aiosmtpd" &&
        "$tools/aiosmtpd/bin/pip" install --quiet --disable-pip-version-check "aiosmtpd==1.4.6"
}

# need_schemathesis: a client of OpenAPI that makes up requests. Leaves its program in SCHEMATHESIS.
need_schemathesis() {
    SCHEMATHESIS=${SCHEMATHESIS:-$tools/schemathesis/bin/schemathesis}
    export SCHEMATHESIS
    if [ -x "$SCHEMATHESIS" ]; then
        return
    fi
    python3 -c 'import ensurepip' 2>/dev/null || install_package python3-venv || return
    echo "installing schemathesis into $tools/schemathesis (once)"
    python3 -m venv "$tools/schemathesis" &&
        "$tools/schemathesis/bin/pip" install --quiet --disable-pip-version-check "schemathesis==4.32.5"
}

# need_playwright: what drives a browser, and the distribution's own Chromium. Leaves its folder of modules in PLAYWRIGHT.
need_playwright() {
    PLAYWRIGHT=${PLAYWRIGHT:-$tools/playwright/node_modules}
    export PLAYWRIGHT
    need_package chromium || return
    if [ -d "$PLAYWRIGHT/playwright-core" ]; then
        return
    fi
    need_package npm || return
    echo "installing playwright-core into $tools/playwright (once)"
    mkdir -p "$tools/playwright"
    npm install --silent --no-audit --no-fund --prefix "$tools/playwright" "playwright-core@1.65.1"
}

# need_graphql_ws: the GraphQL library whose server tests speak to. Leaves its folder of modules in GRAPHQL_WS.
need_graphql_ws() {
    GRAPHQL_WS=${GRAPHQL_WS:-$tools/graphql-ws/node_modules}
    export GRAPHQL_WS
    if [ -d "$GRAPHQL_WS/graphql-ws" ]; then
        return
    fi
    need_package npm
    echo "installing graphql-ws into $tools/graphql-ws (once)"
    mkdir -p "$tools/graphql-ws"
    npm install --silent --no-audit --no-fund --prefix "$tools/graphql-ws" "graphql-ws@6.4.2" "graphql@16.15.0" "ws@8.23.0"
}

# need_postgresql: the server, whose programs the distribution keeps off the PATH.
need_postgresql() {
    local programs
    for programs in /usr/lib/postgresql/*/bin; do
        if [ -x "$programs/initdb" ]; then
            return
        fi
    done
    if command -v initdb >/dev/null && command -v postgres >/dev/null && command -v psql >/dev/null; then
        return
    fi
    echo "installing the package postgresql"
    local as_root=
    [ "$(id -u)" -eq 0 ] || as_root=sudo
    $as_root apt-get update -qq && $as_root apt-get install -qq -y --no-install-recommends postgresql
}

# need_prometheus: its server and promtool, unpacked from the distribution's package, so that nothing is installed as a service. Leaves their folder
# in PROMETHEUS_PROGRAMS.
need_prometheus() {
    PROMETHEUS_PROGRAMS=${PROMETHEUS_PROGRAMS:-$tools/prometheus/usr/bin}
    export PROMETHEUS_PROGRAMS
    if [ -x "$PROMETHEUS_PROGRAMS/promtool" ]; then
        return
    fi
    echo "unpacking prometheus into $tools/prometheus (once)"
    local as_root=
    [ "$(id -u)" -eq 0 ] || as_root=sudo
    $as_root apt-get update -qq && mkdir -p "$tools/prometheus" &&
        (cd "$tools/prometheus" && apt-get download -qq prometheus && dpkg-deb -x prometheus_*.deb . && rm -f prometheus_*.deb)
}
