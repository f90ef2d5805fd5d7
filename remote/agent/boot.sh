t=; o=;
for p in @CANDIDATES@; do
  q=$(command -v "$p" 2>/dev/null) || { t="$t $p"; continue; };
  "$p" -ES -c "@BOOT@";
  s=$?;
  case $s in
    0) exit 0;;
    91) test "$o" || o=$q; t="$t $p";;
    9[2-9]) exit $s;;
    [1-9]|[1-9]?|1[01]?|12[0-7]) t="$t $p (exit status $s)";;
    *) exit $s;;
  esac;
done;
if test "$o"; then echo "execnet: $o is $("$o" -V 2>&1), needs 2.7 or 3.6+" >&2; exit 91; fi;
echo "execnet: no Python found (tried$t)" >&2;
exit 127
