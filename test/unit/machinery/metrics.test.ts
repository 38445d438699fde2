import test from 'ava';
import { Histogram, histogramText } from '../../../kernel/machinery/metrics/histogram.ts';
import { mergeMetrics } from '../../../kernel/machinery/metrics/merge-metrics.ts';
import { metricText } from '../../../kernel/machinery/metrics/metric-text.ts';

test('a metric is printed with its labels escaped', (t) => {
  t.is(
    metricText('m_total', 'counter', 'Two\nlines', [{ labels: { a: 'q"\\\n', b: 2 }, value: 1.5 }]),
    '# HELP m_total Two\\nlines\n# TYPE m_total counter\nm_total{a="q\\"\\\\\\n",b="2"} 1.5\n',
  );
  t.is(metricText('m', 'gauge', 'none', []), '');
});

test('a histogram counts cumulatively, and what is above every bound in +Inf alone', (t) => {
  const histogram = new Histogram([0.1, 1]);
  for (const value of [0.05, 0.1, 0.5, 7]) histogram.observe(value);
  t.is(
    histogramText('h', 'help', [{ labels: { x: 'y' }, histogram }]),
    [
      '# HELP h help',
      '# TYPE h histogram',
      'h_bucket{x="y",le="0.1"} 2',
      'h_bucket{x="y",le="1"} 3',
      'h_bucket{x="y",le="+Inf"} 4',
      'h_sum{x="y"} 7.65',
      'h_count{x="y"} 4',
      '',
    ].join('\n'),
  );
});

test('families of several texts come together under one head', (t) => {
  const one = metricText('a_total', 'counter', 'A', [{ labels: { of: 1 }, value: 1 }]);
  const two = `${metricText('b', 'gauge', 'B', 5)}${metricText('a_total', 'counter', 'A', [{ labels: { of: 2 }, value: 2 }])}`;
  const histogram = histogramText('h', 'H', [{ histogram: new Histogram([1]) }]);
  const merged = mergeMetrics([one, histogram, two, '', 'bare 3\n']);
  t.is(
    merged,
    [
      '# HELP a_total A',
      '# TYPE a_total counter',
      'a_total{of="1"} 1',
      'a_total{of="2"} 2',
      '# HELP h H',
      '# TYPE h histogram',
      'h_bucket{le="1"} 0',
      'h_bucket{le="+Inf"} 0',
      'h_sum 0',
      'h_count 0',
      '# HELP b B',
      '# TYPE b gauge',
      'b 5',
      'bare 3',
      '',
    ].join('\n'),
  );
  t.is(mergeMetrics(['', '']), '');
});
