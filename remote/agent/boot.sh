# For csh a blank has to follow each exclamation mark.
#
# Watches until Python is up. When writing to stderr fails, the link is gone, and this ends what a hanging
# interpreter would leave: with a /proc all descendants of this shell, in whatever session, and the process
# group where it is ours. An agent that is up ends the watch.
(while sleep 1 </dev/null >/dev/null 2>&1; do
  (echo >&2) || {
    exec 2>/dev/null;
    d=" $$ ";
    for i in 1 2 3 4; do
      for f in /proc/[0-9]*/stat; do
        read -r l <$f;
        set -- ${l%% *} ${l##*) };
        case "$d" in *" $3 "*) d="$d$1 ";; esac;
      done;
    done;
    (kill -9 $d; kill -9 -$$);
    exit;
  };
  kill -0 $$ 2>/dev/null || exit;
done) </dev/null >/dev/null & w=$! ;
t=; o=; s=; h=$PWD;
for p in @CANDIDATES@; do
  q=$(command -v "$p" 2>/dev/null) || { t="$t $p"; continue; };
  case $q in /*) ;; *) q=$h/$q;; esac;
  (cd / && exec "$q" -ES -c "@BOOT@" $w "$h");
  s=$?;
  case $s in
    0) break;;
    91) test "$o" || o=$q; t="$t $p"; s=;;
    9[2-9]) break;;
    [1-9]|[1-9]?|1[01]?|12[0-7]) t="$t $p (exit status $s)"; s=;;
    *) break;;
  esac;
done;
if test "$s"; then kill -13 $w 2>/dev/null; exit $s; fi;
if test "$o"; then echo "execnet: $o is $("$o" -V 2>&1), needs 2.7 or 3.6+" >&2; s=91;
else echo "execnet: no Python found (tried$t)" >&2; s=127; fi;
kill -13 $w 2>/dev/null;
exit $s
