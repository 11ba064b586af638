//! `strftime` for chat templates: a moment in UTC by Python's directives.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// A moment of the Gregorian calendar.
struct Civil {
    year: i64,
    /// 0 to 11.
    month: usize,
    /// 1 to 31.
    day: i64,
    /// 1 to 366.
    day_of_year: i64,
    /// 0 is Monday.
    weekday: usize,
    /// 0 to 86,399.
    second_of_day: i64,
}

/// `moment` in UTC as `format` says, in English; an unknown directive is an error.
pub(super) fn format(moment: SystemTime, format: &str) -> Result<String, String> {
    let seconds = match moment.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_secs() as i64,
        Err(before) => -(before.duration().as_secs() as i64),
    };
    let civil = Civil::from_unix(seconds);
    let mut out = String::with_capacity(format.len());
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut directive = rest.next();
        // `%-d`: no padding, glibc's extension that Llama's templates know.
        let bare = directive == Some('-');
        if bare {
            directive = rest.next();
        }
        let directive = directive.ok_or("strftime_now: a directive is missing after %")?;
        civil.write(directive, bare, &mut out)?;
    }
    Ok(out)
}

impl Civil {
    /// Days are counted in years that begin in March, eras of 400 years repeat exactly.
    fn from_unix(seconds: i64) -> Self {
        let days = seconds.div_euclid(86_400);
        let from_march_0000 = days + 719_468;
        let era = from_march_0000.div_euclid(146_097);
        let day_of_era = from_march_0000.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_from_march + 2) / 153;
        let day = day_from_march - (153 * month_from_march + 2) / 5 + 1;
        let month = (month_from_march + 2) % 12;
        let year = era * 400 + year_of_era + i64::from(month < 2);
        let is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let january_and_february = 59 + i64::from(is_leap);
        let day_of_year =
            if month < 2 { day_from_march - 306 } else { day_from_march + january_and_february } + 1;
        Self {
            year,
            month: month as usize,
            day,
            day_of_year,
            weekday: (days + 3).rem_euclid(7) as usize,
            second_of_day: seconds.rem_euclid(86_400),
        }
    }

    fn write(&self, directive: char, bare: bool, out: &mut String) -> Result<(), String> {
        let (hour, minute, second) =
            (self.second_of_day / 3600, self.second_of_day / 60 % 60, self.second_of_day % 60);
        let (number, width) = match directive {
            'd' => (self.day, 2),
            'm' => (self.month as i64 + 1, 2),
            'y' => (self.year.rem_euclid(100), 2),
            'Y' => (self.year, 1),
            'H' => (hour, 2),
            'I' => ((hour + 11) % 12 + 1, 2),
            'M' => (minute, 2),
            'S' => (second, 2),
            'j' => (self.day_of_year, 3),
            'F' => {
                let _ = write!(out, "{}-{:02}-{:02}", self.year, self.month + 1, self.day);
                return Ok(());
            }
            'T' => {
                let _ = write!(out, "{hour:02}:{minute:02}:{second:02}");
                return Ok(());
            }
            _ => {
                out.push_str(match directive {
                    'B' => MONTHS[self.month],
                    'b' | 'h' => &MONTHS[self.month][..3],
                    'A' => WEEKDAYS[self.weekday],
                    'a' => &WEEKDAYS[self.weekday][..3],
                    'p' if hour < 12 => "AM",
                    'p' => "PM",
                    'Z' => "UTC",
                    'z' => "+0000",
                    '%' => "%",
                    _ => return Err(format!("strftime_now: directive %{directive} is not supported")),
                });
                return Ok(());
            }
        };
        let width = if bare { 1 } else { width };
        let _ = write!(out, "{number:0width$}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[track_caller]
    fn check(unix: u64, directives: &str, expected: &str) {
        let moment = UNIX_EPOCH + Duration::from_secs(unix);
        assert_eq!(format(moment, directives).as_deref(), Ok(expected));
    }

    #[test]
    fn moments_are_written_as_python_writes_them() {
        // datetime.fromtimestamp(t, UTC).strftime(...)
        check(0, "%d %b %Y, %A", "01 Jan 1970, Thursday");
        check(951_782_400, "%Y-%m-%d %j %a", "2000-02-29 060 Tue");
        check(951_868_800, "%F %j", "2000-03-01 061");
        check(1_735_689_599, "%B %-d, %Y %I:%M:%S %p %y %j", "December 31, 2024 11:59:59 PM 24 366");
        check(4_107_542_400, "%d.%m.%Y %H", "01.03.2100 00");
        check(4_107_456_000, "%d.%m.%Y %T", "28.02.2100 00:00:00");
        check(1_677_628_800, "%F %j", "2023-03-01 060");
        check(1_709_251_200, "%F %j", "2024-03-01 061");
        check(4_107_542_400, "%F %j", "2100-03-01 060");
        check(43_199, "%p %Z %z 100%%", "AM UTC +0000 100%");
    }

    #[test]
    fn moments_before_1970_are_days_too() {
        let moment = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(format(moment, "%F %T").as_deref(), Ok("1969-12-31 23:59:59"));
    }

    #[test]
    fn unknown_directive_is_an_error() {
        let message = format(UNIX_EPOCH, "%Q").unwrap_err();
        assert_eq!(message, "strftime_now: directive %Q is not supported");
        assert!(format(UNIX_EPOCH, "50%").unwrap_err().contains("missing after %"));
    }
}
