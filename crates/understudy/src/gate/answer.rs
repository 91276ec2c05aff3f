//! What a Prometheus server answers, as one figure or the reason why there is none.

use serde::Deserialize;

/// The longest message of a server that is passed on.
const MESSAGE_MAX: usize = 200;

#[derive(Deserialize)]
struct Answer {
    status: String,
    error: Option<String>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct Series {
    value: Sample,
}

/// A time and a figure as text.
type Sample = (f64, String);

/// Reads the body of an answer.
pub(super) fn read(code: u16, body: &[u8]) -> Result<f64, String> {
    let answer = serde_json::from_slice::<Answer>(body);
    if code != 200 {
        let told = answer.ok().and_then(|answer| answer.error).map(|error| format!(": {}", short(&error)));
        return Err(format!("the server answered with status {code}{}", told.unwrap_or_default()));
    }
    let answer = answer.map_err(|_| "what answers there is no Prometheus server".to_owned())?;
    if answer.status != "success" {
        let told = answer.error.as_deref().map_or_else(String::new, |error| format!(": {}", short(error)));
        return Err(format!("the server refuses it{told}"));
    }
    let (_, text) = match answer.data {
        Some(Data { kind, result }) if kind == "scalar" => read_as::<Sample>(result)?,
        Some(Data { kind, result }) if kind == "vector" => {
            match <[Series; 1]>::try_from(read_as::<Vec<Series>>(result)?) {
                Ok([series]) => series.value,
                Err(series) if series.is_empty() => return Err("it gives no series".to_owned()),
                Err(series) => {
                    let number = series.len();
                    return Err(format!("it gives {number} series instead of one: aggregate them"));
                }
            }
        }
        Some(_) | None => return Err("it gives neither a scalar nor an instant vector".to_owned()),
    };
    match text.parse::<f64>() {
        Ok(figure) if figure.is_finite() => Ok(figure),
        Ok(_) | Err(_) => Err("it is not a number, as after a division by zero".to_owned()),
    }
}

fn read_as<T: serde::de::DeserializeOwned>(result: serde_json::Value) -> Result<T, String> {
    serde_json::from_value(result).map_err(|_| "its result cannot be read".to_owned())
}

fn short(text: &str) -> String {
    text.chars().take(MESSAGE_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn success(data: &str) -> Result<f64, String> {
        read(200, format!(r#"{{"status":"success","data":{data}}}"#).as_bytes())
    }

    /// One figure is a figure, however it comes.
    #[test]
    fn one_figure_is_read() {
        let vector =
            r#"{"resultType":"vector","result":[{"metric":{"job":"web"},"value":[1793495045.1,"0.25"]}]}"#;
        assert_eq!(success(vector), Ok(0.25));
        assert_eq!(success(r#"{"resultType":"scalar","result":[1793495045,"-3e2"]}"#), Ok(-300.0));
    }

    /// Promise 3: an answer that is not one figure is not a good one. A series that vanished must not pass `below: 0.01`.
    #[test]
    fn everything_else_has_its_reason() {
        let sample = |value: &str| {
            format!(r#"{{"resultType":"vector","result":[{{"metric":{{}},"value":[1,"{value}"]}}]}}"#)
        };
        let two = r#"{"resultType":"vector","result":[{"metric":{},"value":[1,"1"]},{"metric":{},"value":[1,"2"]}]}"#;
        for (data, why) in [
            (r#"{"resultType":"vector","result":[]}"#.to_owned(), "it gives no series"),
            (two.to_owned(), "it gives 2 series instead of one: aggregate them"),
            (sample("NaN"), "it is not a number, as after a division by zero"),
            (sample("-Inf"), "it is not a number, as after a division by zero"),
            (sample("a lot"), "it is not a number, as after a division by zero"),
            (
                r#"{"resultType":"matrix","result":[]}"#.to_owned(),
                "it gives neither a scalar nor an instant vector",
            ),
            (
                r#"{"resultType":"string","result":[1,"x"]}"#.to_owned(),
                "it gives neither a scalar nor an instant vector",
            ),
            ("null".to_owned(), "it gives neither a scalar nor an instant vector"),
        ] {
            assert_eq!(success(&data), Err(why.to_owned()), "{data}");
        }
        let error = br#"{"status":"error","errorType":"bad_data","error":"parse error:\nunexpected"}"#;
        assert_eq!(
            read(400, error),
            Err("the server answered with status 400: parse error: unexpected".to_owned())
        );
        assert_eq!(read(200, error), Err("the server refuses it: parse error: unexpected".to_owned()));
        assert_eq!(read(503, b"busy"), Err("the server answered with status 503".to_owned()));
        assert_eq!(read(200, b"<html>"), Err("what answers there is no Prometheus server".to_owned()));
    }
}
