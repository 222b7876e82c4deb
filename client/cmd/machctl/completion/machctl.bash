# Completion of machctl for bash.

# Puts a backslash before each of the characters in $2 that are in $1, and the
# result into $REPLY.
_machctl_escape()
{
    local c i
    REPLY=$1
    for ((i = 0; i < ${#2}; i++)); do
        c=${2:i:1}
        [[ $REPLY != *"$c"* ]] || REPLY=${REPLY//"$c"/"\\$c"}
    done
}

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

    # In a quoted word that has been begun, its quote is open still.
    local quote=
    piece=${words[${#words[@]} - 1]}
    case $piece in
        \'*)
            quote=\'
            [[ ${piece:1} != *\'* ]] || return 0
            ;;
        \"*)
            quote=\"
            piece=${piece:1}
            [[ ${piece//\\?/} != *\"* ]] || return 0
            ;;
    esac
    # A word that is quoted is meant without its quotes.
    for i in "${!words[@]}"; do
        piece=${words[i]}
        case $piece in
            \'*) piece=${piece#\'}; piece=${piece%\'} ;;
            \"*) piece=${piece#\"}; piece=${piece%\"}; piece=${piece//\\/} ;;
            *) piece=${piece//\\/} ;;
        esac
        words[i]=$piece
    done

    local answer line adds=files REPLY current=${words[${#words[@]} - 1]}
    answer=$("${words[0]/#\~/$HOME}" __complete "${words[@]:1}" 2>/dev/null </dev/null) || return 0
    [[ $current == --*=* ]] && current=${current#*=}
    # What bash takes for a word of its own begins behind the last = or :, or at
    # the last @.
    local before=
    case $quote$current in
        [\'\"]*) ;;
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
                line=${line#"$before"}
                # What names have in common is put into the line as it is: of
                # many, too, nothing may be left that means something to bash.
                case $quote in
                    \') [[ $line != *\'* ]] || continue ;;
                    \")
                        [[ $line != *!* ]] || continue
                        _machctl_escape "$line" '\$`"'
                        line=$REPLY
                        ;;
                    *)
                        _machctl_escape "$line" '\ $`"'\''()<>|&;*?[]{}~#!^'
                        line=$REPLY
                        ;;
                esac
                COMPREPLY+=("$line")
                ;;
        esac
    done <<<"$answer"
    case $adds in
        files) compopt -o default -o bashdefault 2>/dev/null ;;
        directories) compopt -o dirnames 2>/dev/null ;;
        open) compopt -o nospace 2>/dev/null ;;
    esac
    return 0
}

complete -F _machctl machctl
