// How the processes of test files run. Most live for a second: V8 11, that of Node 20, would spend a fifth of it on optimizing code
// that hardly runs again. Later versions hold back by themselves, and refuse the flag.
export const nodeArguments = process.versions.v8.startsWith('11.') ? ['--interrupt-budget=2000000'] : [];
