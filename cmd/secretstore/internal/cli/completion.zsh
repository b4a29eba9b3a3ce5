#compdef secretstore
# Completion of secretstore for zsh.

_secretstore() {
    local out line value directive
    local -a lines folders others order
    # (Q) removes quotes; nothing that is typed is evaluated.
    out=$("${${(Q)words[1]}/#\~\//$HOME/}" __complete "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null) || return 1
    lines=("${(@f)out}")
    directive=${lines[-1]#:}
    lines[-1]=()
    ((directive & 1)) && return 1
    [[ $PREFIX == -*=* ]] && compset -P 1 '*=' # only the value of a flag comes back
    for line in "${lines[@]}"; do
        [[ -n $line ]] || continue
        value=${${line%%$'\t'*}//:/\\:}
        [[ $line == *$'\t'* ]] && value+=:${line#*$'\t'}
        if [[ ${line%%$'\t'*} == */ ]]; then
            folders+=("$value")
        else
            others+=("$value")
        fi
    done
    if ((${#folders} + ${#others})); then
        ((directive & 32)) && order=(-V)
        _describe $order -t secretstore secretstore folders -S '' -- others
    elif ((!(directive & 4))); then
        _files
    fi
}

if [[ $funcstack[1] == _secretstore ]]; then
    _secretstore "$@"
else
    (($+functions[compdef])) || { autoload -Uz compinit && compinit -i -D }
    compdef _secretstore secretstore
fi
