import sys;sys.path[:not sys.path[0]]=[];v=sys.version_info[:2];(2,7)<=v<(3,)or(3,6)<=v or sys.exit(91);import io;exec(io.FileIO(sys.stdin.fileno(),closefd=False).readline())
