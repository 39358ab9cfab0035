import { test } from 'tap'
import { isFailure, reasonForCallers, scrubber, withAdvice, withoutThread } from '../../src/kafka/connection-reason.js'

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
    ['sasl_ssl://h:9092/bootstrap: Connect to ipv4#10.0.0.1:9092 failed: Connection refused (after 0ms in state CONNECT)', /refuses the connection/],
    ['sasl_ssl://h:9092/bootstrap: SSL handshake failed: certificate verify failed (after 3ms in state SSL_HANDSHAKE)', /TLS/],
    ['sasl_plaintext://h:9092/1: Connection setup timed out in state CONNECT (after 30000ms in state CONNECT)', /does not answer/],
    ['something else at 10.0.0.1', /fails/],
    [null, /not connected/]
  ] as const) {
    t.match(reasonForCallers(line), reason)
    t.notMatch(reasonForCallers(line), /127|10\.0|9092/)
  }
  t.equal(withoutThread('[thrd:main]: text'), 'text')
})

test('a failure to connect whose line does not say what to look at comes with advice', async t => {
  const closed = 'Disconnected: connection closed by peer: receive 0 after POLLIN (after 2ms in state APIVERSION_QUERY)'
  t.match(withAdvice(`127.0.0.1:9092/bootstrap: ${closed}`), /POLLIN .*: does this listener expect another KAFKA_SECURITY_PROTOCOL\?$/)
  t.equal(withAdvice(`sasl_plaintext://127.0.0.1:9092/1: ${closed}`), `sasl_plaintext://127.0.0.1:9092/1: ${closed}`)
  t.match(withAdvice('ssl://h:1/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed'), /KAFKA_SSL_CA_LOCATION.*host name\?$/)
  t.match(withAdvice('ssl://h:1/bootstrap: Receive failed: error:0A000412:SSL routines::sslv3 alert bad certificate: SSL alert number 42'),
    /KAFKA_SSL_CERTIFICATE_LOCATION/)
  t.equal(withAdvice('h:1/1: Connection refused'), 'h:1/1: Connection refused')
})

test('a client that is let go is no failure, though its log says so for debugging', async t => {
  t.ok(isFailure({ fac: 'FAIL', severity: 3 }))
  t.ok(isFailure({ fac: 'FAIL', severity: 6 }))
  t.notOk(isFailure({ fac: 'FAIL', severity: 7 }))
  t.notOk(isFailure({ fac: 'SSL', severity: 3 }))
})
