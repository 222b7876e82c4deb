# Completion of machctl for bash.

# The words of the line up to the cursor go to machctl as they stand there: no
# part of them is run. It prints candidates, and what the shell adds to them.
_machctl()
{
    local rest=${COMP_LINE:0:COMP_POINT} space piece i
    local -a words=()
    # bash splits words at : and = as well, and has them in several pieces.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        space=${rest%%[![:space:]]*}
        rest=${rest#"$space"}
        piece=${COMP_WORDS[i]}
        ((i == COMP_CWORD)) && piece=$rest
        rest=${rest#"$piece"}
        if ((i == 0)) || [[ -n $space ]]; then
            words+=("$piece")
        else
            words[${#words[@]} - 1]+=$piece
        fi
    done
    COMPREPLY=()
    ((${#words[@]} > 1)) || return 0

    # A word that is quoted is meant without its quotes.
    for i in "${!words[@]}"; do
        piece=${words[i]}
        case $piece in
            \'*) piece=${piece#\'}; piece=${piece%\'} ;;
            \"*) piece=${piece#\"}; piece=${piece%\"} ;;
            *) piece=${piece//\\/} ;;
        esac
        words[i]=$piece
    done

    local answer line adds=files current=${words[${#words[@]} - 1]}
    answer=$("${words[0]/#\~/$HOME}" __complete "${words[@]:1}" 2>/dev/null </dev/null) || return 0
    [[ $current == --*=* ]] && current=${current#*=}
    # What bash takes for a word of its own begins behind the last = or :, or at
    # the last @.
    local before=
    case $current in
        *[=:@]*)
            before=${current%"${current##*[=:@]}"}
            before=${before%@}
            ;;
    esac
    while IFS= read -r line; do
        case $line in
            :*) adds=${line#:} ;;
            *)
                line=${line%%$'\t'*}
                COMPREPLY+=("${line#"$before"}")
                ;;
        esac
    done <<<"$answer"
    if ((${#COMPREPLY[@]} == 1)) && [[ ${COMPREPLY[0]} == *[!A-Za-z0-9_@%+=:,./-]* ]]; then
        COMPREPLY[0]=$(printf %q "${COMPREPLY[0]}")
    fi
    case $adds in
        files) compopt -o default -o bashdefault 2>/dev/null ;;
        directories) compopt -o dirnames 2>/dev/null ;;
        open) compopt -o nospace 2>/dev/null ;;
    esac
    return 0
}

complete -F _machctl machctl
