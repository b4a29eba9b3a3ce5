# Completion of secretstore for bash. It needs no other package.

_secretstore() {
    local words=() n=-1 i word space rest=${COMP_LINE:0:COMP_POINT} cur out line prefix directive quoted
    # bash splits words at =, : and @, which are parts of ours.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        space=${rest%%[![:space:]]*}
        rest=${rest#"$space"}
        ((i < COMP_CWORD)) || word=$rest
        rest=${rest#"$word"}
        if ((i > 0)) && [[ -z $space ]]; then
            words[n]+=$word
        else
            n=$((n + 1))
            words[n]=$word
        fi
    done
    [[ ${words[n]} != [\'\"]* ]] || quoted=1 # bash does not split there
    words=("${words[@]#[\'\"]}")
    words=("${words[@]%[\'\"]}")
    cur=${words[n]}
    COMPREPLY=()
    out=$("${words[0]/#\~/$HOME}" __completeNoDesc "${words[@]:1}" 2>/dev/null) || return
    directive=${out##*:}
    out=${out%:*}
    ((directive & 1)) && return
    ((directive & 2)) && compopt -o nospace 2>/dev/null
    [[ $cur != -*=* ]] || cur=${cur#*=} # only the value of a flag comes back
    # bash replaces only what is after the last = or :, or from an @.
    if [[ ! $quoted ]]; then
        prefix=${cur%"${cur##*[=:]}"}
        rest=${cur#"$prefix"}
        [[ $rest != *@* ]] || prefix+=${rest%%@*}
    fi
    while IFS= read -r line; do
        [[ -n $line && $line == "$cur"* ]] && COMPREPLY+=("${line#"$prefix"}")
    done <<<"$out"
    ((${#COMPREPLY[@]} > 0 || directive & 4)) || compopt -o default 2>/dev/null
    return 0
}

complete -F _secretstore secretstore
