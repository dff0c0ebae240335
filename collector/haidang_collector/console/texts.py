"""The status page's words in both languages."""

from __future__ import annotations

TEXTS = {
    "vi": {
        "title": "Tình trạng mạng", "skip": "Đến nội dung chính", "other": "English", "updated": "Cập nhật lúc",
        "lost": "Mất kết nối với máy chủ từ lúc", "outages": "Sự cố đang diễn ra", "none": "Không có sự cố nào.",
        "not_judged": "Hiện không đánh giá được: chưa rõ có sự cố hay không.",
        "sites": "Cơ quan", "circuits": "Tuyến truyền dẫn", "agents": "Tác tử", "search": "Tìm", "where": "Nơi",
        "cause": "Nguyên nhân", "since": "Từ lúc", "carrier": "Nhà mạng", "affected": "Ảnh hưởng",
        "people": "{sites} cơ quan, {officials} cán bộ", "evidence": "Căn cứ", "planned": "bảo trì có kế hoạch",
        "name": "Tên", "level": "Cấp", "state": "Trạng thái", "ends": "Hai đầu", "circuit": "Tuyến",
        "measured": "Đã đo trong tháng", "budget": "Đã dùng theo cam kết",
        "last": "Báo cáo cuối", "never": "chưa có", "up": "hoạt động",
        "degraded": "suy giảm", "down": "mất kết nối", "unknown": "chưa rõ", "silent": "im lặng", "off": "đã tắt",
        "province": "tỉnh", "department": "sở, ngành", "district": "huyện", "commune": "xã", "other_level": "khác",
        "no_registry": "Chưa nạp sổ đăng ký: haidang-collector registry load TỆP", "of": "trên", "empty": "Chưa có.",
        "boards": "Bảng số liệu", "all": "tất cả", "hours": "Số giờ", "show": "Xem",
        "age_days": "{days} ngày {hours} giờ", "age_hours": "{hours} giờ {minutes} phút",
        "age_minutes": "{minutes} phút",
        "runbooks": "Hướng dẫn xử lý", "summary": "Tóm tắt", "in_english": "Toàn văn (tiếng Anh)",
        "no_prometheus": "Chưa có đồ thị: khai báo console.prometheus_url của máy chủ thu thập.",
        "sign_in": "Cần chứng thư vận hành",
        "how": "Trang này dành cho người vận hành. Xin trung tâm dữ liệu tệp chứng thư (.p12), nhập vào trình duyệt"
               " hoặc điện thoại, rồi mở lại trang.",
    },
    "en": {
        "title": "State of the network", "skip": "To the main content", "other": "Tiếng Việt", "updated": "Updated at",
        "lost": "The server has not answered since", "outages": "Open outages", "none": "No outage is open.",
        "not_judged": "Nothing is judged now: it is not known whether there are outages.",
        "sites": "Sites", "circuits": "Circuits", "agents": "Agents", "search": "Search", "where": "Where",
        "cause": "Cause", "since": "Since", "carrier": "Carrier", "affected": "Affected",
        "people": "{sites} sites, {officials} officials", "evidence": "Evidence", "planned": "planned work",
        "name": "Name", "level": "Level", "state": "State", "ends": "Between", "circuit": "Circuit",
        "measured": "Measured this month", "budget": "SLA budget used",
        "last": "Last report", "never": "none yet", "up": "up", "degraded": "degraded",
        "down": "down", "unknown": "not known", "silent": "silent", "off": "switched off", "province": "province",
        "department": "department", "district": "district", "commune": "commune", "other_level": "other",
        "no_registry": "No registry is loaded: haidang-collector registry load FILE", "of": "of", "empty": "None yet.",
        "boards": "Dashboards", "all": "all", "hours": "Hours", "show": "Show",
        "age_days": "{days} d {hours} h", "age_hours": "{hours} h {minutes} min", "age_minutes": "{minutes} min",
        "runbooks": "Runbooks", "summary": "Summary", "in_english": "In full",
        "no_prometheus": "There are no graphs: set the collector's console.prometheus_url.",
        "sign_in": "An operator's certificate is needed",
        "how": "This page is for operators. Ask the data center for a certificate file (.p12), import it into the"
               " browser or telephone, and open the page again.",
    },
}  # fmt: skip
LANGUAGES = tuple(TEXTS)
