import t from 'tap'
import { parseJaas } from '../../src/config/jaas.js'

const PLAIN = 'org.apache.kafka.common.security.plain.PlainLoginModule'

t.test('a login module and its options are read', async t => {
  t.match(parseJaas(`${PLAIN} required username="alice" password="alice-secret";`),
    { module: 'PlainLoginModule', options: { username: 'alice', password: 'alice-secret' } })
})

t.test('it may be written in every way that Java accepts', async t => {
  const options = { username: 'a', password: 'b' }
  for (const text of [
    'M required\n  username="a"\n  password="b" ;',
    "M REQUIRED username='a' password='b';",
    'M optional username = a password = b;',
    'M sufficient /* who */ username=a // comment\n password=b;\n',
    'M requisite username=a password=b; '
  ]) t.match(parseJaas(text), { module: 'M', options }, text)
})

t.test('quoted text keeps separators, quotes and escapes', async t => {
  const password = (written: string) => parseJaas(`M required password=${written};`)?.options.password
  t.equal(password('"a=b;c d"'), 'a=b;c d')
  t.equal(password("'say \"hi\"'"), 'say "hi"')
  t.equal(password('"say \\"hi\\" \\\\ \\t \\101"'), 'say "hi" \\ \t A')
  t.equal(password('"//not a comment"'), '//not a comment')
  t.equal(password('""'), '')
  t.equal(password('"pässwörd"'), 'pässwörd')
})

t.test('what is not one login module is refused', async t => {
  for (const text of [
    '', ';', 'M', 'M required', 'M required username="a"', 'M username="a";', 'M required username;', 'M required username=;',
    'M required ="a";', 'M required username="a;', 'M required username="a"; N required;', 'M required a=b=c;', 'KafkaClient { M required; };'
  ]) t.equal(parseJaas(text), undefined, text)
})

t.test('an option cannot reach the object\'s prototype', async t => {
  t.equal(Object.getPrototypeOf(parseJaas('M required __proto__=x;')?.options), null)
})
