// Preloaded into every gateway that a test starts: its standard input is a pipe from the test, so that it ends with the
// test's process, however that ends.
process.stdin.on('error', () => {})
process.stdin.on('end', () => { process.kill(process.pid, 'SIGKILL') })
process.stdin.resume()
process.stdin.unref()
