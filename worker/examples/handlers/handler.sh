#!/bin/sh
# A COMMAND for `--lines` in POSIX shell. To copy from.
#
#     loadbalancer --lines 3 -- sh handler.sh
#
# A line in:   ID <tab> ATTEMPT <tab> INDEX <tab> TEXT
# A line out:  ID <tab> ok   (or: retry, dead, each with <tab> REASON if you like; or: alive)

tab=$(printf '\t')

# The work itself, with the text as $1 and the attempt as $2. Here a text with a `!` is none that could ever be
# done, and one that begins with `busy` is not done at the first try.
work() {
    case $1 in
        *'!'*) return 65 ;; # EX_DATAERR in sysexits.h
        busy*) test "$2" -gt 1 ;;
    esac
}

# A text keeps its blanks: only a tab separates. `-r`: it keeps its backslashes, too.
while IFS=$tab read -r id attempt index text; do
    # Without the two redirections, what it starts could read the next messages, and print what is no answer.
    work "$text" "$attempt" </dev/null >&2
    case $? in
        0) answer=ok ;;
        65) answer="dead${tab}it has a ! in it" ;;
        *) answer="retry${tab}busy" ;;
    esac
    # printf writes at once. echo would do strange things with some texts.
    printf '%s\t%s\n' "$id" "$answer"
done
# The end of the input: nothing is left to do.
