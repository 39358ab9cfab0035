// Makes an API key: the key is for its holder and is shown once, the digest is for AUTH_FILE or AUTH_KEYS.
import { createHash, randomBytes } from 'node:crypto'

const key = `sluice_${randomBytes(32).toString('base64url')}`
const digest = createHash('sha256').update(key).digest('hex')
console.log(`key     ${key}\nsha256  ${digest}`)
