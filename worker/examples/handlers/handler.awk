# A COMMAND for `--lines` in awk. To copy from.
#
#     loadbalancer --lines 3 -- mawk -W interactive -f handler.awk
#     loadbalancer --lines 3 -- gawk -f handler.awk
#
# mawk (`awk` on Debian and Ubuntu) reads ahead until its buffer is full, and so waits for ever, unless it is told
# `-W interactive`. gawk and BWK awk take each line as it comes. All of them keep what they print in a buffer:
# fflush() sends it.
#
# A line in:   ID <tab> ATTEMPT <tab> INDEX <tab> TEXT
# A line out:  ID <tab> ok   (or: retry, dead, each with <tab> REASON if you like; or: alive)

BEGIN { FS = OFS = "\t" }

# The work itself. Here a text with a `!` is none that could ever be done, and one that begins with `busy` is not
# done at the first try. (A program that you start with system() reads our standard input, that is, the next
# messages, unless you add `</dev/null`, and must not print on standard output: `>&2`.)
function work(text, attempt) {
    if (text ~ /!/) return "dead" OFS "it has a ! in it"
    if (text ~ /^busy/ && attempt == 1) return "retry" OFS "busy"
    return "ok"
}

{
    print $1, work($4, $2)
    fflush()
}
# At the end of the input awk ends by itself.
