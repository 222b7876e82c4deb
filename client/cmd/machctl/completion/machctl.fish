# Completion of machctl for fish.

# The words of the line up to the cursor go to machctl as they stand there: no
# part of them is run. It prints candidates, and what the shell adds to them.
function __machctl_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    # What is typed is quoted, and names are not.
    switch "$current"
        case '"*' "'*"
            set current (string sub -s 2 -- "$current" | string replace -ra '\\\\(.)' '$1')
        case '*'
            set -l plain (string unescape -- "$current")
            and set current "$plain"
    end
    set -l before ''
    if string match -qr -- '^--[^=]*=' $current
        set before (string match -r -- '^--[^=]*=' $current)
    end
    for line in (command $words[1] __complete $words[2..] "$current" 2>/dev/null </dev/null)
        switch $line
            case ':files'
                __fish_complete_path (string replace -- "$before" '' "$current")
            case ':directories'
                __fish_complete_directories (string replace -- "$before" '' "$current")
            case ':*'
            case '*'
                echo -- $before$line
        end
    end
end

complete -c machctl -f -a '(__machctl_complete)'
