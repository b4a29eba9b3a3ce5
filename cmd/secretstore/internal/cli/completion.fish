# Completion of secretstore for fish.

function __secretstore_complete
    # The words before the cursor, without quotes; nothing that is typed is evaluated.
    set -l words (commandline -opc)
    set -l cur (commandline -ct)
    set -l plain (string unescape -- $cur 2>/dev/null)
    and set cur $plain
    test -n "$cur"
    or set cur ""
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    set -e words[1]
    set -l lines ($program __complete $words $cur 2>/dev/null)
    or return
    set -l directive (string sub -s 2 -- $lines[-1])
    set -e lines[-1]
    test (math "$directive % 2") = 0
    or return
    # Only the value of a flag comes back.
    set -l flag (string match -r -- '^-[^=]*=' $cur)
    or set flag ""
    if test (count $lines) -gt 0
        printf '%s\n' $flag$lines
    else if test (math "floor($directive / 4) % 2") = 0
        set -l files (__fish_complete_path (string replace -r -- '^-[^=]*=' '' $cur))
        printf '%s\n' $flag$files
    end
end

complete -c secretstore -e
complete -c secretstore -k -f -a '(__secretstore_complete)'
