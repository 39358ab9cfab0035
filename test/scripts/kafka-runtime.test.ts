import t from 'tap'
import { brokerProperties, chooseRuntime, jdkVersion } from '../../scripts/lib-kafka.mjs'

t.test('a Docker engine comes first, then a JDK with Maven or with jars from an earlier run', async t => {
  t.match(chooseRuntime({ docker: true, jdk: 17, maven: true, jars: true }), { kind: 'docker' })
  t.match(chooseRuntime({ docker: true, jdk: 17, maven: true, jars: true, only: 'java' }), { kind: 'java' })
  t.match(chooseRuntime({ docker: false, jdk: 17, maven: true, jars: false }), { kind: 'java' })
  t.match(chooseRuntime({ docker: false, jdk: 21, maven: false, jars: true }), { kind: 'java' })
})

t.test('what is missing is said in words', async t => {
  const found = { docker: false, jdk: 17, maven: true, jars: true }
  t.match(chooseRuntime({ ...found, jdk: 0, maven: false, jars: false }), { kind: null, reason: /a JDK of version 17 or later and Maven is missing/ })
  t.match(chooseRuntime({ ...found, jdk: 11 }), { kind: null, reason: /found 11/ })
  t.match(chooseRuntime({ ...found, only: 'docker' }), { kind: null, reason: /no Docker engine/ })
})

t.test('the JDK\'s version is read in its old and its new form', async t => {
  t.equal(jdkVersion('javac 17.0.15'), 17)
  t.equal(jdkVersion('javac 1.8.0_402'), 8)
  t.equal(jdkVersion('javac 25-ea'), 25)
  t.equal(jdkVersion(undefined), 0)
})

t.test('three brokers keep three copies and know each other; what a test asks for wins', async t => {
  const ports = [1, 2, 3].map(i => ({ client: 100 + i, controller: 200 + i }))
  const text = brokerProperties({ id: 2, ports, folder: '/f', extra: { 'min.insync.replicas': 1 } })
  t.match(text, /^controller\.quorum\.voters=1@127\.0\.0\.1:201,2@127\.0\.0\.1:202,3@127\.0\.0\.1:203$/m)
  t.match(text, /^listeners=PLAINTEXT:\/\/127\.0\.0\.1:102,CONTROLLER:\/\/127\.0\.0\.1:202$/m)
  t.match(text, /^default\.replication\.factor=3$/m)
  t.match(text, /^min\.insync\.replicas=1$/m)
  t.match(brokerProperties({ id: 1, ports: ports.slice(0, 1), folder: '/f' }), /^default\.replication\.factor=1$/m)
})

t.test('further listeners are open and advertised; a value of several lines stays one property', async t => {
  const text = brokerProperties({
    id: 1,
    ports: [{ client: 101, controller: 201, more: { INSIDE: 301 } }],
    folder: '/f',
    listeners: { INSIDE: 'SASL_SSL' },
    extra: { 'ssl.keystore.key': 'first\nsecond' }
  })
  t.match(text, /^listeners=PLAINTEXT:\/\/127\.0\.0\.1:101,INSIDE:\/\/127\.0\.0\.1:301,CONTROLLER:\/\/127\.0\.0\.1:201$/m)
  t.match(text, /^advertised\.listeners=PLAINTEXT:\/\/127\.0\.0\.1:101,INSIDE:\/\/127\.0\.0\.1:301$/m)
  t.match(text, /^listener\.security\.protocol\.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,INSIDE:SASL_SSL$/m)
  t.match(text, /^ssl\.keystore\.key=first\\nsecond$/m)
})
