-- finds: warning|27-unique-across-accounts|shop.line_label_key
CREATE TABLE shop.line (id uuid PRIMARY KEY, contact_id int REFERENCES shop.contact, label text UNIQUE);
ALTER TABLE shop.line OWNER TO ITSOWNER;
SELECT tenant_guard.protect('shop.line', via => 'contact_id');
