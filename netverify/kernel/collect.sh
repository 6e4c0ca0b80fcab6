#!/bin/sh
# A snapshot of this host for netverify, as a tar. Printed by netverify @VERSION@ for hosts without Python.
#
#   sh collect.sh host.tar                              on the host, as root
#   ssh root@HOST sh -s <collect.sh >host.tar           from somewhere else
#   netverify collect --from host.tar -o host.json      afterwards
#
# Only reads: it runs `ip`, `nft`, `iptables-save` and the like, and `docker` or `podman`; it writes nothing but
# the tar, and temporary files that it removes. Of what the engine prints only what a packet can notice is
# kept (the lists CONTAINER, NETWORK and INFO below); environment variables, commands, mounts and labels never
# reach a file. What cannot be collected stands with its reason in meta.json.

CONTAINER='
@CONTAINER@'
NETWORK='
@NETWORK@'
INFO='
@INFO@'
# The sysctls that decide about packets: how their names end, in these branches; and all of net.bridge.
SYSCTLS='
@SYSCTLS@'
BRANCHES='
@BRANCHES@'

# What copies JSON but for what is not in a list of those: kernel/collect.awk.
# shellcheck disable=SC2016  # awk's $0
KEEP='
@KEEP@'

json() { # TEXT: as a JSON string
    printf '"%s"' "$(printf '%s' "$1" | tr -c '\40-\176' ' ' | sed 's/["\\]/\\&/g')"
}

lack() { # PART REASON
    rm -f "$parts/$1"
    printf 'netverify: %s was not collected: %s\n' "$1" "$2" >&2
    [ ! -s "$notes/missing" ] || printf ', ' >>"$notes/missing"
    printf '%s: %s' "$(json "$1")" "$(json "$2")" >>"$notes/missing"
}

limited() { # PROGRAM WORD...: what it says on standard error is in $notes/err
    if [ -n "$limit" ]; then
        timeout "$limit" "$@"
    else
        "$@"
    fi </dev/null 2>"$notes/err"
}

complaint() { # STATUS [FILE]: why the last program failed; FILE is what it printed
    if [ -n "$limit" ] && [ "$1" -eq 124 ]; then
        printf 'took longer than %s s' "$limit"
        return
    fi
    for said in "$notes/err" ${2+"$2"}; do
        line=$(sed -n '/[^[:space:]]/{s/^[[:space:]]*//p;q;}' "$said" | tr -c '\40-\176\n' ' ')
        if [ -n "$line" ]; then
            printf '%s' "$line"
            return
        fi
    done
    printf 'exit code %s' "$1"
}

has() { command -v "$1" >/dev/null 2>&1; }

take() { # PART PROGRAM WORD...: a part that is what a program prints
    part=$1
    shift
    if ! has "$1"; then
        lack "$part" "$1 is not installed"
        return 1
    fi
    limited "$@" >"$parts/$part" || {
        lack "$part" "$1: $(complaint $? "$parts/$part")"
        return 1
    }
    # `ip` prints nothing where there is nothing.
    [ "$1" != ip ] || [ -s "$parts/$part" ] || printf '[]\n' >"$parts/$part"
}

take_legacy() { # PART PROGRAM TABLES: the legacy backend's rules; asking where there are no tables makes some
    if ! limited cat "/proc/thread-self/net/$3" >"$notes/out"; then
        case $(cat "$notes/err") in
            *'No such file'*) ;;
            *Permission*) lack "$1" "/proc/net/$3: may only be read by root" && return ;;
            *) lack "$1" "/proc/net/$3: $(complaint 1)" && return ;;
        esac
    fi
    if grep -q '[^[:space:]]' "$notes/out"; then
        take "$1" "$2" -c
    else
        printf '# no tables in /proc/net/%s\n' "$3" >"$parts/$1"
    fi
}

take_rules() { # the rules of routing of both IP versions in one list, each with its family
    for family in inet inet6; do
        if [ "$family" = inet ]; then option=-4; else option=-6; fi
        take rule.json ip -j -d "$option" rule || return
        # A key at the start of an object cannot be part of a string, where quotes are escaped.
        tr -d '\n' <"$parts/rule.json" |
            sed "s/{\"priority\":/{\"family\":\"$family\",\"priority\":/g; s/^[[:space:]]*\\[//; s/\\][[:space:]]*\$//" \
                >"$notes/$family"
    done
    between=
    if [ -s "$notes/inet" ] && [ -s "$notes/inet6" ]; then between=,; fi
    { printf '[' && cat "$notes/inet" && printf '%s' "$between" && cat "$notes/inet6" && printf ']\n'; } \
        >"$parts/rule.json"
}

take_sysctls() {
    if ! has sysctl; then
        lack sysctl.txt 'sysctl is not installed'
        return
    fi
    # shellcheck disable=SC1003  # backslashes for a regular expression
    limited sysctl -a --pattern '^net\.(ipv4|ipv6|bridge|netfilter)\.' >"$notes/out" ||
        limited sysctl -a >"$notes/out" || {
        lack sysctl.txt "sysctl: $(complaint $? "$notes/out")"
        return
    }
    ends=$SYSCTLS branches=$BRANCHES awk '
        BEGIN { n = split(ENVIRON["ends"], ends, " "); m = split(ENVIRON["branches"], branches, " ") }
        {
            at = index($0, " = ")
            name = at ? substr($0, 1, at - 1) : $0
            keep = index(name, "net.bridge.") == 1
            for (i = 1; i <= m && !keep; i++) if (index(name, branches[i]) == 1)
                for (j = 1; j <= n; j++)
                    if (substr(name, length(name) - length(ends[j]) + 1) == ends[j]) keep = 1
            if (keep) print
        }' "$notes/out" >"$parts/sysctl.txt"
}

# --- the engine --------------------------------------------------------------------------------------------

take_engine() {
    engine=
    refusal=
    for program in @ENGINES@; do
        has "$program" || continue
        engine=${engine:-$program}
        ask_info "$program" && engine=$program && break
        refusal=${refusal:-$reason}
    done
    if [ -z "$engine" ]; then
        for part in docker-info.json docker-networks.json docker-containers.json; do
            lack "$part" '@NO_ENGINE@'
        done
        return
    fi
    [ -e "$parts/docker-info.json" ] || lack docker-info.json "$refusal"
    take_inspected docker-networks.json "$NETWORK" '' network network ls
    take_inspected docker-containers.json "$CONTAINER" "$notes/containers" container ps
    [ ! -e "$parts/docker-containers.json" ] || [ ! -e "$notes/containers" ] || look_inside
}

ask_info() { # PROGRAM: the engine itself, or the `reason` why not
    limited "$1" info --format '{{json .}}' >"$notes/fifo" &
    tree=$INFO many=0 list='' awk "$KEEP" <"$notes/fifo" >"$parts/docker-info.json"
    kept=$?
    status=0
    wait $! || status=$?
    if [ "$kept" -eq 0 ] && [ "$status" -eq 0 ]; then return 0; fi
    rm -f "$parts/docker-info.json"
    case $status in
        0 | 141) reason="$1 info printed no JSON" ;;
        *) reason="$1 info: $(complaint "$status")" ;;
    esac
    return 1
}

take_inspected() { # PART TREE LIST NOUN WORD...: everything that the engine lists, in groups
    part=$1 tree=$2 list=$3 noun=$4
    shift 4
    if ! limited "$engine" "$@" --no-trunc --format '{{.ID}}' >"$notes/out"; then
        lack "$part" "$engine $1: $(complaint $? "$notes/out")"
        return
    fi
    listed=$(cat "$notes/out")
    for identity in $listed; do
        case $identity in
            *[!0-9A-Za-z]*)
                lack "$part" "$engine $1 printed what is no identity"
                return
                ;;
        esac
    done
    rm -f "$notes/refused"
    # shellcheck disable=SC2086  # identities have neither blanks nor anything that a shell obeys
    inspect_all $listed | tree=$tree many=1 list=$list awk "$KEEP" >"$parts/$part"
    kept=$?
    if [ -s "$notes/refused" ]; then
        lack "$part" "$(cat "$notes/refused")"
    elif [ "$kept" -ne 0 ]; then
        lack "$part" "$engine $noun inspect printed no JSON"
    fi
}

inspect_all() { # IDENTITY...: one that ended meanwhile is no fault
    while [ $# -gt 0 ]; do
        group=
        count=0
        while [ $# -gt 0 ] && [ "$count" -lt @AT_ONCE@ ]; do
            group="$group $1"
            count=$((count + 1))
            shift
        done
        # shellcheck disable=SC2086
        limited "$engine" "$noun" inspect $group
        status=$?
        [ "$status" -ne 141 ] || return # awk has seen enough
        if [ "$status" -ne 0 ] && ! grep -qi -e 'no such' -e 'not found' "$notes/err"; then
            printf '%s %s inspect: %s' "$engine" "$noun" "$(complaint "$status")" >"$notes/refused"
            return
        fi
    done
}

look_inside() { # nothing is started inside: the host's `ip` looks through the first process's namespace
    while read -r process name; do
        mkdir -p "$parts/containers/$name"
        for kind in addr route; do
            part=containers/$name/$kind.json
            if [ "$process" = - ]; then
                lack "$part" 'the engine does not say which process is its first'
                continue
            fi
            if [ "$kind" = addr ]; then set -- addr; else set -- route show table all; fi
            if ! has nsenter; then
                lack "$part" 'nsenter: it is not installed'
            elif limited nsenter "--net=/proc/$process/ns/net" ip -j -d "$@" >"$parts/$part"; then
                [ -s "$parts/$part" ] || printf '[]\n' >"$parts/$part"
            else
                lack "$part" "nsenter: $(complaint $? "$parts/$part")"
            fi
        done
    done <"$notes/containers"
}

# --- all of it, in a function, so that half a script does nothing --------------------------------------------

main() {
    output=${1:--}
    if [ $# -gt 1 ] || { [ "$output" = - ] && [ -t 1 ]; }; then
        printf 'usage: sh collect.sh FILE.tar   (or standard output to a file)\n' >&2
        exit 2
    fi
    umask 077
    set -f
    export LC_ALL=C
    export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
    work=$(mktemp -d "${TMPDIR:-/tmp}/netverify.XXXXXX") || exit 1
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' HUP INT TERM
    parts=$work/parts
    notes=$work/notes
    mkdir "$parts" "$notes" && mkfifo "$notes/fifo" || exit 1
    limit=
    if timeout @LIMIT@ true >/dev/null 2>&1; then limit=@LIMIT@; fi

    take iptables-save.txt iptables-save -c
    take_legacy iptables-legacy-save.txt iptables-legacy-save ip_tables_names
    take ip6tables-save.txt ip6tables-save -c
    take_legacy ip6tables-legacy-save.txt ip6tables-legacy-save ip6_tables_names
    take nft.json nft -j list ruleset
    take addr.json ip -j -d addr
    take route.json ip -j -d route show table all
    take_rules
    take_sysctls
    take ipset.txt ipset save
    take listen.txt ss -lntup
    take_engine

    {
        printf '{"name": %s, "collected": "%s", "netverify": "@VERSION@", "kernel": %s, "missing": {' \
            "$(json "$(uname -n)")" "$(date -u '+%Y-%m-%dT%H:%M:%S+00:00')" "$(json "$(uname -r)")"
        [ ! -e "$notes/missing" ] || cat "$notes/missing"
        printf '}}\n'
    } >"$parts/meta.json"
    set +f
    cd "$parts" || exit 1
    if [ "$output" = - ]; then
        tar -cf - -- *
    else
        # The name is one of the folder in which this was started.
        case $output in /*) ;; *) output=$OLDPWD/$output ;; esac
        tar -cf - -- * >"$output"
    fi || exit 1
}

main "$@"
