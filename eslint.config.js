import neostandard from 'neostandard'

// src/engine decides what is safe to commit. It must give the same answer for the same input, so it may read no clock,
// start no timer, draw no random number and import nothing that does: time and chance come in through its ports.
const engineIsPure = {
  files: ['src/engine/**/*.ts'],
  rules: {
    'no-restricted-imports': ['error', {
      patterns: [{
        regex: '^(?!\\./|\\.\\./record\\.js$|tinyqueue$|node:assert$|node:zlib$)',
        message: 'src/engine imports only its own files, ../record.js, tinyqueue, node:assert and node:zlib.'
      }]
    }],
    'no-restricted-globals': ['error',
      ...['Date', 'performance', 'process', 'setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask', 'fetch', 'crypto', 'console', 'globalThis']
        .map(name => ({ name, message: 'src/engine is pure: pass it in through a port.' }))
    ],
    'no-restricted-properties': ['error', { object: 'Math', property: 'random', message: 'src/engine is pure: pass it in through a port.' }]
  }
}

const onlyTheAdaptersImportTheDriver = {
  files: ['src/**/*.ts', 'plugins/**/*.ts', 'routes/**/*.ts'],
  ignores: ['src/kafka/**', 'src/engine/**'],
  rules: {
    'no-restricted-imports': ['error', {
      paths: [{ name: '@confluentinc/kafka-javascript', message: 'Only src/kafka imports the driver: calls that are not validated can end the process.' }]
    }]
  }
}

export default [
  ...neostandard({ ts: true, ignores: ['dist/', '.cache/', '.tap/'] }),
  { rules: { '@stylistic/max-len': ['error', { code: 140, ignoreUrls: true, ignoreStrings: true, ignoreTemplateLiterals: true, ignoreRegExpLiterals: true }] } },
  onlyTheAdaptersImportTheDriver,
  engineIsPure
]
