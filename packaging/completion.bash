# SPDX-License-Identifier: Apache-2.0
# bash completion for xdpfw: source it, or copy it to /usr/share/bash-completion/completions/xdpfw

_xdpfw_sets() { xdpfw list --json --timeout 1 2>/dev/null | grep -o '"name": "[^"]*"' | cut -d'"' -f4; }
_xdpfw_interfaces() { local path; for path in /sys/class/net/*; do echo "${path##*/}"; done; }

_xdpfw() {
    local cur=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} verb='' words='' at
    local verbs="serve prepare attach detach status doctor block unblock allow unallow unban list show import export counters top events rules policy config apply confirm rollback panic audit program explain replay set backup restore token"
    for ((at = 1; at < COMP_CWORD; at++)); do
        case ${COMP_WORDS[at]} in
            --socket | --url | --timeout) ((at++)) ;;
            -*) ;;
            *) verb=${COMP_WORDS[at]}; break ;;
        esac
    done
    case $previous in
        --verdict) words="pass drop" ;;
        --mode) words="auto native generic" ;;
        --sort) words="pps bps packets bytes share" ;;
        --of) words="total passed dropped" ;;
        --role) words="read write admin" ;;
        --outcome) words="accepted refused unchanged" ;;
        --attach | --interface) words=$(_xdpfw_interfaces) ;;
        --format) words="text json ndjson" ;;
        --socket | --config | --state-dir | --bpffs) COMPREPLY=($(compgen -f -- "$cur")); return ;;
    esac
    if [[ -z $words && -z $verb ]]; then
        words="$verbs --json --socket --url --timeout --version --help"
    elif [[ -z $words && $cur == -* ]]; then
        words=$(xdpfw "$verb" --help 2>/dev/null | grep -o -- '--[a-z-]*' | sort -u)
    elif [[ -z $words ]]; then
        case $verb in
            attach | detach | counters | top | program) words=$(_xdpfw_interfaces) ;;
            list | export) words=$(_xdpfw_sets) ;;
            import) if ((COMP_CWORD - at > 1)); then COMPREPLY=($(compgen -f -- "$cur")); return; fi; words=$(_xdpfw_sets) ;;
            backup | restore) COMPREPLY=($(compgen -f -- "$cur")); return ;;
            prepare) COMPREPLY=($(compgen -u -- "$cur")); return ;;
            apply) COMPREPLY=($(compgen -f -- "$cur")); return ;;
            rules) words="list add edit move remove pass drop limit" ;;
            replay) COMPREPLY=($(compgen -f -- "$cur")); return ;;
            policy) words="show default mode pass drop enforce monitor" ;;
            set) words="create describe delete $(_xdpfw_sets)" ;;
            token) words="create list revoke" ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _xdpfw xdpfw
