# Copies JSON but for what `tree` does not name, which is a list of paths: State/Running. A step that ends in *
# stands for all keys that begin so. With many=1 the input is lists, and the output one list of their members.
# With `list`, the members are containers: those with a namespace of their own are listed there, a line each
# with the number of the first process and the name.
#
# No apostrophe may stand here: the script has all of this between two.
function grow(    paths, steps, above, n, m, i, j) {
    n = split(ENVIRON["tree"], paths, " ")
    for (i = 1; i <= n; i++) {
        m = split(paths[i], steps, "/")
        above = "."
        for (j = 1; j <= m; j++) {
            if (steps[j] ~ /[*]$/ && !((above "/" steps[j]) in node)) starts[above] = starts[above] " " steps[j]
            node[above "/" steps[j]] = (j == m) ? "whole" : "tree"
            above = above "/" steps[j]
        }
    }
}
function branch(above, key,    list, n, i, start) {
    if (above == "" || node[above] == "whole") return above
    if (key !~ /[*\/]/ && (above "/" key) in node) return above "/" key
    n = split(starts[above], list, " ")
    for (i = 1; i <= n; i++) {
        start = substr(list[i], 1, length(list[i]) - 1)
        if (substr(key, 1, length(start)) == start) return above "/" list[i]
    }
    return ""
}
function is_escaped(text,    back, n) {
    for (back = length(text); back > 0 && substr(text, back, 1) == "\\"; back--) n++
    return n % 2
}
function inner(token) { return token ~ /^"/ ? substr(token, 2, length(token) - 2) : token }
function fail() { bad = 1; exit }
# Every value begins here: where does it stand, and is it kept?
function value(    b) {
    if (d == 0) {
        if (done && !many) fail()
        return "."
    }
    if (want[d] == "key" || want[d] == "comma" || want[d] == "colon") fail()
    if (kind[d] == "{" && want[d] != "value") fail()
    b = kind[d] == "{" ? under[d] : at[d]
    if (b != "") {
        if (count[d]++) print ","
        if (kind[d] == "{") print key[d] ":"
    }
    want[d] = "comma"
    return b
}
function scalar(token,    b) {
    if (d == 0) fail()
    if (is_name && d == 2 && token ~ /^"/) name = inner(token)
    b = value()
    if (b == "") return
    if (b == "./Id" && d == 2 && token ~ /^"/) identity = inner(token)
    if (b == "./State/Pid" && d == 3) pid = token
    if (b == "./HostConfig/NetworkMode" && d == 3) mode = inner(token)
    print node[b] == "whole" ? token : "null"
}
# No engine gives a name that is no word; of one that is none nothing becomes the name of a file.
function named() {
    sub(/^\//, "", name)
    if (name ~ /^[A-Za-z0-9][A-Za-z0-9_.-]*$/ && length(name) <= 200) return name
    return "container-" (identity ~ /^[A-Za-z0-9]+$/ ? substr(identity, 1, 12) : position)
}
function opened(c,    b) {
    b = value()
    if (d == 0 && many && c != "[") fail()
    d++
    kind[d] = c; at[d] = b; count[d] = 0; want[d] = (c == "{") ? "first" : "any"
    if (d == 1 && many) { count[d] = position > 0; return }
    if (d == 2 && many) { name = identity = pid = mode = "" }
    if (b != "") print c
}
function closed(c) {
    if (d == 0 || (kind[d] == "{") != (c == "}")) fail()
    if (want[d] != "comma" && want[d] != "first" && want[d] != "any") fail()
    if (d == 1 && many) { d--; done++; return }
    if (d == 2 && many) {
        if (ENVIRON["list"] != "") {
            if (c != "}") fail()
            print (count[d] ? "," : "") "\"Name\":\"" named() "\""
            if (mode != "host" && mode !~ /^container:/)
                printf "%s %s\n", (pid ~ /^[1-9][0-9]*$/ ? pid : "-"), named() >ENVIRON["list"]
        }
        position++
    }
    if (at[d] != "") print c
    d--
    if (d == 0) done++
}
function structure(s,    c, length_of) {
    for (;;) {
        sub(/^[ \t\r]+/, "", s)
        if (s == "") return
        c = substr(s, 1, 1)
        length_of = 1
        if (c == "{" || c == "[") opened(c)
        else if (c == "}" || c == "]") closed(c)
        else if (c == ":") {
            if (d == 0 || want[d] != "colon") fail()
            want[d] = "value"
        } else if (c == ",") {
            if (d == 0 || want[d] != "comma") fail()
            want[d] = (kind[d] == "{") ? "key" : "value"
        } else {
            if (!match(s, /^[-+.0-9a-zA-Z]+/)) fail()
            length_of = RLENGTH
            c = substr(s, 1, length_of)
            if (c !~ /^(true|false|null|-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][-+]?[0-9]+)?)$/) fail()
            scalar(c)
        }
        s = substr(s, length_of + 1)
    }
}
function string(text) {
    if (d > 0 && kind[d] == "{" && (want[d] == "first" || want[d] == "key")) {
        key[d] = text
        # The name of a container comes last, when it is known what else it may be called.
        is_name = d == 2 && ENVIRON["list"] != "" && text == "\"Name\""
        under[d] = is_name ? "" : branch(at[d], inner(text))
        want[d] = "colon"
    } else scalar(text)
}
BEGIN { ORS = ""; many = ENVIRON["many"] + 0; position = 0; grow(); if (many) print "[" }
{
    n = split($0, piece, "\"")
    for (i = 1; i <= n; i++) {
        structure(piece[i])
        if (i == n) break
        # Or nobody asks what it says.
        is_read = d > 0 && (want[d] != "value" || kind[d] != "{" || under[d] != "" || (is_name && d == 2))
        text = ""
        for (i++; i < n && is_escaped(piece[i]); i++) if (is_read) text = text piece[i] "\""
        if (i == n) fail()
        string("\"" text piece[i] "\"")
    }
}
END {
    if (bad || d != 0 || (!done && !many)) exit 1
    if (many) print "]"
    print "\n"
}
