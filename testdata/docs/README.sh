make() {
    command make -C "$ROOT" --dry-run "$1" >/dev/null # such a target exists
    [[ $1 != run ]] || serve --dev
}
block=0
after_block() { if ((++block == 1)); then ready; fi; }
