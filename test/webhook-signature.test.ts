import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { WebhookSignatures, signingKey, type SignatureRule, type SignatureScheme } from '../src/webhook-signature.js'

const rule = (scheme: SignatureScheme, ...secrets: string[]): SignatureRule =>
  ({ topic: 'a', scheme, secrets, toleranceSeconds: 300, authenticates: false })

function verifier (scheme: SignatureScheme, seconds: number, ...secrets: string[]) {
  const signatures = new WebhookSignatures([rule(scheme, ...secrets)], () => seconds * 1000)
  return (headers: Record<string, string>, body: string | Buffer) => {
    try {
      signatures.verify('a', headers, Buffer.from(body))
      return 'good'
    } catch (error) {
      return (error as Error).message
    }
  }
}

t.test('GitHub\'s documented example', async t => {
  const verify = verifier('github', 0, 'It\'s a Secret to Everybody')
  const good = 'sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17'
  t.equal(verify({ 'x-hub-signature-256': good }, 'Hello, World!'), 'good')
  t.match(verify({ 'x-hub-signature-256': good }, 'Hello, World?'), /does not fit its body/)
  t.match(verify({ 'x-hub-signature-256': good.replace('7571', '7572') }, 'Hello, World!'), /does not fit its body/)
  t.match(verifier('github', 0, 'another secret')({ 'x-hub-signature-256': good }, 'Hello, World!'), /does not fit/)
  for (const bad of [good.slice(0, -1), good.slice('sha256='.length), `${good}0`, 'sha256=', `sha1=${good.slice(7)}`, `${good}, ${good}`]) {
    t.match(verify({ 'x-hub-signature-256': bad }, 'Hello, World!'), /X-Hub-Signature-256 must be/, bad)
  }
  t.match(verify({}, 'Hello, World!'), /no header x-hub-signature-256/)
  t.match(verify({ 'x-hub-signature-256': '' }, 'Hello, World!'), /no header/)
})

// The signature was made with another program: printf '1492774577.%s' "$body" | openssl dgst -sha256 -hmac whsec_test_secret
const stripeBody = '{\n  "id": "evt_1MqqbKLt4dXK03v5qaIbiNCC",\n  "object": "event",\n  "type": "payment_intent.succeeded"\n}'
const stripeGood = 'c84440d61496f7aa824728a0694650a3f96fe9b94b42c1a2b4170dbe06e4d9c1'
// What stands in Stripe's documentation, for some secret of its own.
const stripeOther = '5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd'
const stripeV0 = '6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39'

t.test('Stripe\'s header as it is documented: any v1 may fit, and v0 never counts', async t => {
  const verify = verifier('stripe', 1492774577, 'whsec_test_secret')
  const sign = (header: string) => verify({ 'stripe-signature': header }, stripeBody)
  t.equal(sign(`t=1492774577,v1=${stripeGood},v0=${stripeV0}`), 'good')
  t.equal(sign(`t=1492774577,v1=${stripeOther},v1=${stripeGood}`), 'good', 'two secrets are in use')
  t.match(sign(`t=1492774577,v1=${stripeOther},v0=${stripeGood}`), /does not fit/)
  t.match(sign(`t=1492774577,v0=${stripeGood}`), /must have a v1/)
  t.match(sign(`t=1492774578,v1=${stripeGood}`), /does not fit/, 'the time is signed')
  for (const bad of [`v1=${stripeGood}`, `t=,v1=${stripeGood}`, `t=1492774577,t=1492774577,v1=${stripeGood}`, `t=1e9,v1=${stripeGood}`, ',', '=', 't']) {
    t.match(sign(bad), /must have one t/, bad)
  }
})

t.test('the time of a signature: the tolerance from both sides, before and after', async t => {
  for (const [seconds, good] of [[300, true], [301, false], [-300, true], [-301, false]] as const) {
    const verify = verifier('stripe', 1492774577 + seconds, 'whsec_test_secret')
    const said = verify({ 'stripe-signature': `t=1492774577,v1=${stripeGood}` }, stripeBody)
    t.match(said, good ? /^good$/ : /more than 300 s from now/, `${seconds} s`)
  }
})

t.test('Standard Webhooks\' reference signature', async t => {
  const headers = {
    'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
    'webhook-timestamp': '1614265330',
    'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
  }
  const body = '{"test": 2432232314}'
  for (const secret of ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw']) {
    t.equal(verifier('standard-webhooks', 1614265330, secret)(headers, body), 'good')
  }
  const verify = verifier('standard-webhooks', 1614265330, 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw')
  const other = 'v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc='
  t.equal(verify({ ...headers, 'webhook-signature': `${other} v1a,xxx ${headers['webhook-signature']}` }, body), 'good', 'one of several')
  t.match(verify({ ...headers, 'webhook-signature': other }, body), /does not fit/)
  t.match(verify({ ...headers, 'webhook-signature': headers['webhook-signature'].replace('v1,', 'v2,') }, body), /must have a signature of version v1/)
  t.match(verify({ ...headers, 'webhook-id': 'msg_2' }, body), /does not fit/, 'the id is signed')
  t.match(verify({ ...headers, 'webhook-timestamp': '1614265331' }, body), /does not fit/, 'so is the time')
  t.match(verify({ ...headers, 'webhook-timestamp': 'now' }, body), /seconds since 1970/)
  for (const name of Object.keys(headers)) t.match(verify({ ...headers, [name]: '' }, body), new RegExp(`no header ${name}`))
  t.match(verifier('standard-webhooks', 1614265330 + 301, 'MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw')(headers, body), /more than 300 s/)
})

t.test('any of several secrets will do, so that they can be changed', async t => {
  const verify = verifier('github', 0, 'the new secret', 'It\'s a Secret to Everybody')
  t.equal(verify({ 'x-hub-signature-256': 'sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17' }, 'Hello, World!'), 'good')
  const sign = (secret: string) => 'sha256=' + createHmac('sha256', secret).update('x').digest('hex')
  t.equal(verify({ 'x-hub-signature-256': sign('the new secret') }, 'x'), 'good')
  t.match(verify({ 'x-hub-signature-256': sign('') }, 'x'), /does not fit/)
})

t.test('for any body and secret, a signature fits that body and no other', async () => {
  fc.assert(fc.property(fc.uint8Array(), fc.uint8Array(), fc.string({ minLength: 8 }), (body, other, secret) => {
    const verify = verifier('github', 0, secret)
    const headers = { 'x-hub-signature-256': 'sha256=' + createHmac('sha256', secret).update(body).digest('hex').toUpperCase() }
    return verify(headers, Buffer.from(body)) === 'good' && (verify(headers, Buffer.from(other)) === 'good') === (Buffer.compare(body, other) === 0)
  }))
})

t.test('topics without a rule take anything', async t => {
  const signatures = new WebhookSignatures([{ ...rule('github', 'secret-1'), authenticates: true }])
  signatures.verify('b', {}, Buffer.alloc(0))
  t.same([signatures.requires('a'), signatures.requires('b'), signatures.authenticates('a'), signatures.authenticates('b')], [true, false, true, false])
})

t.test('no refusal says a secret or the signature that was expected', async t => {
  const said = verifier('github', 0, 'It\'s a Secret')({ 'x-hub-signature-256': 'sha256=' + '0'.repeat(64) }, 'x')
  t.notMatch(said, /Secret/)
  t.notMatch(said, createHmac('sha256', 'It\'s a Secret').update('x').digest('hex'))
})

t.test('Standard Webhooks\' secrets are base64', async t => {
  t.equal(signingKey('standard-webhooks', 'whsec_not base64!'), null)
  t.same(signingKey('standard-webhooks', 'whsec_AAECAw=='), Buffer.from([0, 1, 2, 3]))
  t.same(signingKey('standard-webhooks', 'AAECAw'), Buffer.from([0, 1, 2, 3]))
  t.same(signingKey('stripe', 'whsec_AAECAw=='), Buffer.from('whsec_AAECAw=='))
})
