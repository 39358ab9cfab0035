import { test } from 'tap'
import { reasonForCallers, scrubber, withoutThread } from '../../src/kafka/connection-reason.js'

test('secrets do not reach the log', async t => {
  const scrub = scrubber({
    'sasl.password': 'hunter2',
    'sasl.username': 'alice',
    'ssl.key.pem': '-----BEGIN KEY-----',
    'ssl.key.password': 'open sesame',
    'sasl.oauthbearer.client.secret': 's3cret',
    'linger.ms': 5
  })
  t.equal(scrub('alice hunter2 hunter2 open sesame s3cret -----BEGIN KEY----- 5'), 'alice *** *** *** *** *** 5')
})

test('callers learn the kind of failure, and no addresses', async t => {
  for (const [line, reason] of [
    ['[thrd:127.0.0.1:1/bootstrap]: 127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)', /refuses the connection/],
    ['[thrd:x]: sasl_ssl://h:1/bootstrap: SASL authentication error: Authentication failed', /credentials/],
    ['[thrd:x]: ssl://h:1/bootstrap: SSL handshake failed: certificate verify failed', /TLS/],
    ['[thrd:x]: h:9092/bootstrap: Failed to resolve \'h:9092\': Name or service not known', /resolved/],
    ['no answer to a metadata request within 2000 ms: Local: Timed out', /does not answer/],
    ['something else at 10.0.0.1', /fails/],
    [null, /not connected/]
  ] as const) {
    t.match(reasonForCallers(line), reason)
    t.notMatch(reasonForCallers(line), /127|10\.0|9092/)
  }
  t.equal(withoutThread('[thrd:main]: text'), 'text')
})
