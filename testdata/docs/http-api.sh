dev
printf %s s3cret | secretstore put team/other
# A stream does not end.
curl() {
    local status=0
    timeout 3 curl "$@" || status=$?
    [[ $status == 0 || $* == *-N* && $status == 124 ]]
}
