/** A chart as data: made by the report, drawn by the page. */
export interface Point {
  readonly series: string;
  /** Of a dot chart: the cell's name; of a line chart: where on the horizontal axis. */
  readonly at: string | number;
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

export interface Chart {
  readonly id: string;
  readonly title: string;
  /** What is good, in words. */
  readonly note: string;
  readonly unit: string;
  /** Nothing: there is nothing to draw but what the note says. */
  readonly kind: 'bars' | 'dots' | 'lines' | 'nothing';
  /** Of the axis of values. */
  readonly isLogarithmic: boolean;
  readonly horizontal: string;
  /** Every series that charts of this suite know, so that each keeps its colour. */
  readonly series: readonly string[];
  /** Which of them are baselines. */
  readonly baselines: readonly string[];
  readonly points: readonly Point[];
}
