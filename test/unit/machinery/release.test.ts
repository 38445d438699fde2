import test from 'ava';
import { kubernetesRelease, reportedVersion } from '../../../kernel/machinery/release.ts';
import { apiRelease } from '../../../kernel/machinery/schema/schema.ts';

test('the reported release is that of the schema table', (t) => {
  t.is(kubernetesRelease.replace(/^v/, ''), apiRelease().replace(/^v/, ''));
  t.regex(reportedVersion, /^v1\.\d+\.\d+\+pintle$/);
});
