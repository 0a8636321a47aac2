#!/bin/sh
# Makes Redis' list of users from /config/users.acl, with the passwords of the secret as hashes. In it a user may take
# several lines, and a line that begins with # is a comment: Redis itself knows neither.
set -eu
umask 077

# Every list of users has this one, so without it the secret is not what it shall be.
if [ ! -s /passwords/exporter ]; then
    echo "acl.sh: the secret has no password for exporter: run k8s/make-secrets.sh" >&2
    exit 1
fi

user=''
finish() {
    [ -n "$user" ] || return 0
    if [ "$user" = default ]; then
        echo "user default off resetpass$rules"
    elif [ "$user" = probe ]; then
        echo "user probe on nopass$rules"
    elif [ -s "/passwords/$user" ]; then
        echo "user $user on #$(sha256sum "/passwords/$user" | cut -c1-64)$rules"
    else
        # Not an error: a user whose service is not installed here.
        echo "acl.sh: no password for $user in the secret, so there is no such user" >&2
    fi
}

while read -r first rest; do
    case $first in
        '' | '#'*) ;;
        user) finish; user=${rest%% *}; rules='' ;;
        *) rules="$rules $first${rest:+ $rest}" ;;
    esac
done < /config/users.acl > /acl/users.acl
finish >> /acl/users.acl
cut -d' ' -f1-3 /acl/users.acl
