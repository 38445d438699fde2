import { pathToFileURL } from 'node:url';
import test from 'ava';
import { mendTapReporter } from '../../../scripts/tap-reporter.ts';

interface Reporter {
  test(title: string, options: { error: Error; index: number; passed: boolean }): string;
}

test('a failure is written whatever its error holds', async (t) => {
  const { reporter } = mendTapReporter();
  const tap = (await import(pathToFileURL(reporter).href)) as Reporter;
  const error = Object.assign(new Error('no certificate'), {
    ...{ code: 'E_NONE', library: undefined, retry: () => 0, serial: 12n, kind: Symbol('kind') },
    reason: { host: 'a', alternatives: [undefined] },
  });
  const text = tap.test('lane › title', { error, index: 3, passed: false });
  t.regex(text, /^not ok 3 - lane › title\n {2}---\n/);
  t.regex(text, /^ {4}message: no certificate$/m);
  t.regex(text, /^ {4}code: E_NONE$/m);
  t.regex(text, /^ {6}host: a$/m);
  t.regex(text, /\n {2}\.\.\.$/);
});
