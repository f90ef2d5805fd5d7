# Stage 1, the first line of the link once these lines are made one (docs/bootstrap.md, step 3). It is read
# byte by byte, so it is short: it reads the bundle that follows, and executes its first record, stage 2.
import os,sys
def read(size):
 data=b""
 while len(data)<size:
  part=os.read(sys.stdin.fileno(),min(size-len(data),65536))
  if not part:raise EOFError("the link ended while the agent was being sent")
  data+=part
 return data
try:
 import zlib
 data=zlib.decompress(read(int(read(8))))
 at=data.index(b"\n")+1
 end=at+int(data[:at].split()[1])
 exec(data[at:end])
except Exception:
 e=sys.exc_info()[1]
 try:
  sys.stderr.write("execnet: %s\n"%e)
  sys.stderr.flush()
 finally:os._exit(93 if isinstance(e,(EOFError,ImportError,OSError,IOError))else 98)
