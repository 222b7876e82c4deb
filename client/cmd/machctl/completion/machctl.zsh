#compdef machctl
# Completion of machctl for zsh.

# The words of the line up to the cursor go to machctl as they stand there: no
# part of them is run. It prints candidates, and what the shell adds to them.
_machctl() {
    local line adds=files word command=${(Q)words[1]}
    local -a lines candidates shown options before
    before=("${(@Q)words[2,CURRENT-1]}")
    lines=("${(@f)$(_call_program machctl ${(q)command} __complete ${(q)before[@]} ${(qq)${(Q)PREFIX}} 2>/dev/null </dev/null)}")
    for line in $lines; do
        case $line in
            :*) adds=${line#:} ;;
            *$'\t'*)
                word=${line%%$'\t'*}
                candidates+=("$word")
                line=${line#*$'\t'}
                shown+=("$word${line:+  -- $line}")
                ;;
        esac
    done
    case $adds in
        files) _files && return ;;
        directories) _files -/ && return ;;
        open) options=(-S '') ;;
    esac
    (($#candidates)) || return 1
    # The value of --option=value is a word of its own here.
    [[ $PREFIX == --*=* ]] && compset -P '--*='
    compadd -l -d shown $options -a candidates
}

if [[ $funcstack[1] == _machctl ]]; then
    _machctl "$@"
else
    compdef _machctl machctl
fi
