# Boot: these statements, joined by `;` (docs/bootstrap.md, step 2). LENGTH is that of the line that is read.
import sys
sys.path[:not sys.path[0]]=[]
v=sys.version_info[:2]
(2,7)<=v<(3,)or(3,6)<=v or sys.exit(91)
f=sys.stdin or sys.exit(97)
f.isatty()and sys.exit(99)
import io
s=io.FileIO(f.fileno(),closefd=False).readline()or sys.exit(97)
len(s)-LENGTH and sys.exit(98)
exec(s)
