// Preloaded into every gateway that a test starts: its standard input is a pipe from the test, so that it ends with the
// test's process, however that ends.
import { isMainThread } from 'node:worker_threads'

// It is preloaded into worker threads as well; their standard input is none.
if (isMainThread) {
  process.stdin.on('error', () => {})
  process.stdin.on('end', () => { process.kill(process.pid, 'SIGKILL') })
  process.stdin.resume()
  process.stdin.unref()
}
