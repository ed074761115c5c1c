//! stub until merged
use super::{Record,Origin};
pub fn write_json(_r:&Record<'_>,_o:&Origin,_s:&str,_p:&str,_out:&mut Vec<u8>){}
pub fn write_csv(_r:&Record<'_>,_o:&Origin,_s:&str,_p:&str,_out:&mut Vec<u8>){}
