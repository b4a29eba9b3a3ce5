dev
printf %s s3cret | secretstore put team/other
# A stream does not end. --answers STATUS is what the answer must be.
curl() {
    local status=0 answer
    if [[ $# -gt 2 && ${*: -2:1} == --answers ]]; then
        answer=$(command curl "${@:1:$#-2}" -o /dev/stderr -w '%{http_code}')
        [[ $answer == "${*: -1}" ]]
    elif [[ $* == *-N* ]]; then
        timeout 3 curl "$@" || status=$?
        [[ $status == 0 || $status == 124 ]]
    else
        command curl "$@"
    fi
}
