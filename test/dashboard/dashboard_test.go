package dashboard

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"html"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"
)

var span = Span{From: time.Unix(1_700_000_000, 0), To: time.Unix(1_700_000_600, 0), Step: 10 * time.Second}

// answered are two series, the second with a gap and with a name that is markup.
func answered(_ context.Context, path string, query url.Values) (json.RawMessage, error) {
	if strings.Contains(query.Get("query"), "$") {
		return nil, errors.New("a variable is left in " + query.Get("query"))
	}
	if path == "/api/v1/query" {
		return json.RawMessage(`{"resultType":"vector","result":[
			{"metric":{"namespace":"a","name":"b","control":"LOG-1"},"value":[1700000600,"90"]},
			{"metric":{"namespace":"<script>","name":"c","control":"LOG-2"},"value":[1700000600,"12"]}]}`), nil
	}
	return json.RawMessage(`{"resultType":"matrix","result":[
		{"metric":{"decision":"<denied>"},"values":[[1700000000,"1"],[1700000010,"2"],[1700000300,"3"],[1700000310,"NaN"],[1700000320,"+Inf"]]},
		{"metric":{"decision":"allowed"},"values":[[1700000000,"5"],[1700000010,"5"],[1700000020,"5"],[1700000030,"5"]]}]}`), nil
}

func draw(t *testing.T, get Get) (answers []Answer, svg string) {
	t.Helper()
	d, err := Load("../..")
	if err != nil {
		t.Fatal(err)
	}
	if answers, err = d.Ask(t.Context(), get, span); err != nil {
		t.Fatal(err)
	}
	svg = string(Draw(d.Title, answers, span))
	decoder := xml.NewDecoder(strings.NewReader(svg))
	for {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			return answers, svg
		} else if err != nil {
			t.Fatalf("%v in %s", err, svg)
		}
	}
}

func TestDraw(t *testing.T) {
	answers, svg := draw(t, answered)
	for _, a := range answers {
		if !strings.Contains(svg, ">"+html.EscapeString(a.Title)+"</text>") {
			t.Errorf("%q is not drawn", a.Title)
		}
		if a.Type != "row" && len(a.Series) < 2 {
			t.Errorf("%q has %d series", a.Title, len(a.Series))
		}
	}
	for _, want := range []string{"&lt;denied&gt;", "&lt;script&gt;/c", "LOG-2", "servers"} {
		if !strings.Contains(svg, want) {
			t.Errorf("%s is not drawn", want)
		}
	}
	if strings.Contains(svg, "<script") || strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
		t.Error("markup of a label, or what is no number, is in the picture")
	}
}

func TestDrawNothing(t *testing.T) {
	_, svg := draw(t, func(context.Context, string, url.Values) (json.RawMessage, error) {
		return json.RawMessage(`{"resultType":"vector","result":[]}`), nil
	})
	if got := strings.Count(svg, ">no data<"); got < 20 {
		t.Errorf("%d panels without data", got)
	}
}

func TestAskSaysWhatFailed(t *testing.T) {
	d, err := Load("../..")
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Ask(t.Context(), func(context.Context, string, url.Values) (json.RawMessage, error) { return nil, errors.New("no") }, span)
	if err == nil || !strings.Contains(err.Error(), d.Panels[1].Title) {
		t.Errorf("got %v", err)
	}
}

func TestUnbroken(t *testing.T) {
	at := func(seconds int64) Point { return Point{At: time.Unix(seconds, 0)} }
	parts := unbroken([]Point{at(0), at(10), at(40), at(50), at(60)}, 10*time.Second)
	if len(parts) != 2 || len(parts[0]) != 2 || len(parts[1]) != 3 {
		t.Errorf("got %v", parts)
	}
}

func TestFormat(t *testing.T) {
	for _, test := range []struct {
		unit  string
		value float64
		want  string
	}{
		{"s", 0, "0 s"}, {"s", 0.0004, "0 s"}, {"s", 0.0025, "2.5 ms"}, {"s", 90, "1.5 min"}, {"s", 82800, "23 h"}, {"s", 864000, "10 d"},
		{"none", 100, "100"}, {"none", 0.25, "0.25"}, {"reqps", 12.5, "12.5/s"}, {"ops", 0, "0/s"},
	} {
		if got := format(test.unit, test.value); got != test.want {
			t.Errorf("%v in %s: got %q, want %q", test.value, test.unit, got, test.want)
		}
	}
}

func TestNice(t *testing.T) {
	for _, highest := range []float64{0, 0.003, 0.9, 1, 3, 7, 42, 100, 12345} {
		step := nice(highest)
		if ticks := highest / step; step <= 0 || ticks > 4 || highest > 0 && ticks < 1.5 {
			t.Errorf("%v: ticks of %v", highest, step)
		}
	}
}

func TestNiceTime(t *testing.T) {
	for highest, want := range map[float64]float64{0.9: 0.5, 200: 60, 1200: 300, 4 * 3600: 3600, 10 * 86400: 5 * 86400} {
		if got := niceTime(highest); got != want {
			t.Errorf("%v seconds: ticks of %v, want %v", highest, got, want)
		}
	}
}

func TestThresholds(t *testing.T) {
	d, err := Load("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, panel := range d.Panels {
		if panel.Title != "Lowest posture" {
			continue
		}
		a := Answer{Panel: panel}
		if a.color(10) != named["red"] || a.color(60) != named["orange"] || a.color(100) != named["green"] {
			t.Errorf("%s, %s, %s", a.color(10), a.color(60), a.color(100))
		}
		return
	}
	t.Error("there is no panel Lowest posture")
}
