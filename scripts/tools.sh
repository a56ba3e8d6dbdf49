# Sourced by the other scripts: tools of the checks and tests, installed once under the target folder where they are missing.
# Nothing is put anywhere else, and `cargo clean` takes it away.

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

# need_anvil: the Ethereum node that tests speak to as a server that is not ours. Leaves its path in ANVIL.
need_anvil() {
    ANVIL=${ANVIL:-$tools/anvil/node_modules/.bin/anvil}
    export ANVIL
    if [ -x "$ANVIL" ]; then
        return
    fi
    echo "installing anvil into $tools/anvil (once)"
    mkdir -p "$tools/anvil"
    npm install --silent --no-audit --no-fund --prefix "$tools/anvil" "@foundry-rs/anvil@1.7.1"
}
