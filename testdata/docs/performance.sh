# The targets exist; a page of measurements is not repeated in a test.
make() { command make -C "$ROOT" --dry-run "$1" "${@:2}" >/dev/null; }
